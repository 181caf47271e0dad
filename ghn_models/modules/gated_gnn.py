"""The graph network of GHN-1 and GHN-2: messages along the edges in the order of execution, and back.

A node is updated after all nodes it depends on, so its new state needs only its ancestors (on the way back, its
descendants). Nodes of one topological level do not depend on each other: they are updated together, over all graphs of
the meta-batch, which gives the same states as one node after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ghn_models.inputs.graph_batch import GraphBatch
from ghn_models.modules.mlp import MLP


class GatedGNN(nn.Module):
    """Gated graph network (DeepNets paper, Eqs. 3 and 4).

    Args:
        hidden: size d of node features.
        virtual_edges: nodes also receive messages of all ancestors at most 50 edges away, divided by the distance.
            Neighbours are among them, as in the published checkpoints, where Eq. 4 begins at distance 2.
        sweeps: forward and backward passes T.
        backward: whether a sweep goes back against the edges.

    Shapes:
        x (N, d), graphs with N nodes -> (N, d)
    """

    def __init__(self, hidden: int, virtual_edges: bool = True, sweeps: int = 1, backward: bool = True) -> None:
        super().__init__()
        # Two networks for messages have as many parameters together as the one of GHN-1.
        self.message = MLP(hidden, (hidden // 2 if virtual_edges else hidden, hidden), last_activation=True)
        if virtual_edges:
            self.virtual_message = MLP(hidden, (hidden // 2, hidden), last_activation=True)
        self.gru = nn.GRUCell(hidden, hidden)
        self.virtual_edges, self.sweeps, self.backward = virtual_edges, sweeps, backward

    def forward(self, x: Tensor, graphs: GraphBatch) -> Tensor:
        """Node features after all sweeps."""
        pairs = _pairs(graphs, self.virtual_edges)
        plans = [_Plan(graphs, pairs, reverse) for reverse in ((False, True) if self.backward else (False,))]
        for _ in range(self.sweeps):
            for plan in plans:
                x = self._sweep(x, plan)
        return x

    def _sweep(self, x: Tensor, plan: "_Plan") -> Tensor:
        messages = [self.message, self.virtual_message] if self.virtual_edges else [self.message]
        first, second = zip(*(mlp.linears for mlp in messages), strict=True)
        weights = (
            torch.cat([linear.weight for linear in first]),
            torch.cat([linear.bias for linear in first]),
            torch.block_diag(*(linear.weight for linear in second)),
            torch.cat([linear.bias for linear in second]),
        )
        gru = self.gru
        with torch.autocast(x.device.type, enabled=False):  # the sweep is limited by latency, not by arithmetic
            states = _Sweep.apply(
                x.float()[plan.order] if x.dtype in (torch.bfloat16, torch.float16) else x[plan.order],
                plan.adjacency.to(gru.weight_ih.dtype),
                plan.bounds,
                *(gru.weight_ih, gru.weight_hh, gru.bias_ih, gru.bias_hh),
                *weights,
            )
        return states[plan.rank]


class _Plan:
    """The nodes of a meta-batch in the order of their levels.

    Shapes:
        order: (N,) node at each place; rank: (N,) place of each node.
        bounds: first place of every level, then N.
        adjacency: (N, c N) how much the node at place i takes of the c messages of the node at place j < i, in columns
            c j to c j + c - 1: 1 from neighbours, 1 / distance over virtual edges.
    """

    def __init__(self, graphs: GraphBatch, pairs: "_Pairs", reverse: bool) -> None:
        levels = np.concatenate([_levels(graph.edge_index, len(graph), reverse) for graph in graphs.graphs])
        order = np.argsort(levels, kind="stable")
        device = graphs.primitive.device
        self.bounds = [0, *np.cumsum(np.bincount(levels)).tolist()]
        self.order = torch.from_numpy(order).to(device)
        self.rank = torch.empty_like(self.order)
        self.rank[self.order] = torch.arange(len(order), device=device)
        sources, targets = (self.rank[ends] for ends in (pairs.ends.flip(0) if reverse else pairs.ends))
        self.adjacency = torch.zeros(len(order), len(order), len(pairs.weights), device=device)
        self.adjacency[targets, sources] = pairs.weights.T
        self.adjacency = self.adjacency.flatten(1)


@dataclass(frozen=True)
class _Pairs:
    """Nodes that exchange messages.

    Shapes:
        ends: (2, P) from node, to node, in the direction of the edges.
        weights: (c, P) of the c messages.
    """

    ends: Tensor
    weights: Tensor


def _pairs(graphs: GraphBatch, virtual_edges: bool) -> _Pairs:
    found = [torch.nonzero(d > 0 if virtual_edges else d == 1) for d in graphs.distances]
    lengths = torch.cat([d[p[:, 0], p[:, 1]] for d, p in zip(graphs.distances, found, strict=True)])
    ends = torch.cat([p + offset for p, offset in zip(found, graphs.offsets, strict=True)]).T
    true = (lengths == 1).float()
    return _Pairs(ends, torch.stack([true, 1 / lengths.float()]) if virtual_edges else true[None])


def _levels(edge_index: NDArray[np.integer], n_nodes: int, reverse: bool) -> NDArray[np.int64]:
    """(N,) length of the longest path into each node, or out of it."""
    level = [0] * n_nodes
    sources, targets = edge_index.tolist()
    if reverse:
        for source, target in sorted(zip(sources, targets, strict=True), reverse=True):
            level[source] = max(level[source], level[target] + 1)
    else:
        for target, source in sorted(zip(targets, sources, strict=True)):
            level[target] = max(level[target], level[source] + 1)
    return np.array(level)


class _Sweep(torch.autograd.Function):
    """Updates all nodes, level after level.

    For the nodes at places s to e of a level: m = A[s:e] messages[:s], h = GRU(m, x), messages = relu(relu(h U1) U2).
    The gradient is written by hand: autograd would keep hundreds of small tensors, and copy the messages at every
    level. All that does not depend on the order, which is most of it, is done for all nodes at once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        adjacency: Tensor,
        bounds: Sequence[int],
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor,
        b_hh: Tensor,
        u1: Tensor,
        c1: Tensor,
        u2: Tensor,
        c2: Tensor,
    ) -> Tensor:
        nodes, d = x.shape
        channels = len(c2) // d
        recurrent = torch.addmm(b_hh, x, w_hh.T)  # (N, 3 d), rows of the gates reset, update, new
        m = x.new_zeros(nodes, d)
        gates = x.new_empty(nodes, 3 * d)
        h = torch.empty_like(x)
        hidden = x.new_empty(nodes, len(c1))
        messages = x.new_empty(nodes, channels * d)
        sent = messages.view(nodes * channels, d)
        w_ih_t, u1_t, u2_t = w_ih.T, u1.T, u2.T
        for s, e in pairwise(bounds):
            m_l, new = m[s:e], gates[s:e, 2 * d :]
            if s:
                torch.mm(adjacency[s:e, : channels * s], sent[: channels * s], out=m_l)
            summed = torch.addmm(b_ih, m_l, w_ih_t)  # (n, 3 d)
            fixed = recurrent[s:e]
            reset_update = torch.add(summed[:, : 2 * d], fixed[:, : 2 * d]).sigmoid_()
            gates[s:e, : 2 * d] = reset_update
            torch.addcmul(summed[:, 2 * d :], reset_update[:, :d], fixed[:, 2 * d :], out=new).tanh_()
            h_l = torch.lerp(new, x[s:e], reset_update[:, d:], out=h[s:e])
            hidden_l = torch.addmm(c1, h_l, u1_t, out=hidden[s:e]).relu_()
            torch.addmm(c2, hidden_l, u2_t, out=messages[s:e]).relu_()
        ctx.save_for_backward(x, adjacency, w_ih, w_hh, u1, u2, recurrent, m, gates, h, hidden, messages)
        ctx.bounds = bounds
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, adjacency, w_ih, w_hh, u1, u2, recurrent, m, gates, h, hidden, messages = ctx.saved_tensors
        bounds = ctx.bounds
        nodes, d = x.shape
        channels = messages.shape[1] // d
        reset, update, new = gates.view(nodes, 3, d).unbind(1)
        by_new = (1 - update) * (1 - new * new)  # dh / d(preactivation of the new state)
        by_reset = by_new * recurrent[:, 2 * d :] * reset * (1 - reset)
        by_update = (x - new) * update * (1 - update)
        factors = torch.stack([by_reset, by_update, by_new], dim=1)  # (N, 3, d)
        sent, on = messages > 0, hidden > 0
        grad_h = grad.clone()
        grad_gates = torch.empty_like(gates)
        grad_m = torch.empty_like(m)
        grad_messages = torch.zeros_like(messages)
        grad_hidden = torch.zeros_like(hidden)
        adjacency_t = adjacency.T
        for s, e in zip(reversed(bounds[:-1]), reversed(bounds[1:]), strict=True):
            grad_l = grad_h[s:e]
            if e < nodes:
                received = torch.mm(adjacency_t[channels * s : channels * e, e:], grad_m[e:]).view(e - s, channels * d)
                sent_l = torch.mul(received, sent[s:e], out=grad_messages[s:e])
                hidden_l = torch.mm(sent_l, u2, out=grad_hidden[s:e]).mul_(on[s:e])
                grad_l.addmm_(hidden_l, u1)
            gates_l = grad_gates[s:e]
            torch.mul(grad_l.unsqueeze(1), factors[s:e], out=gates_l.view(e - s, 3, d))
            torch.mm(gates_l, w_ih, out=grad_m[s:e])
        grad_recurrent = grad_gates.clone()
        grad_recurrent[:, 2 * d :] *= reset
        grad_x = torch.addmm(grad_h * update, grad_recurrent, w_hh)
        return (
            grad_x,
            None,
            None,
            grad_gates.T @ m,
            grad_recurrent.T @ x,
            grad_gates.sum(0),
            grad_recurrent.sum(0),
            grad_hidden.T @ h,
            grad_hidden.sum(0),
            grad_messages.T @ hidden,
            grad_messages.sum(0),
        )
