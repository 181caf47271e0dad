"""The gated graph network of GHN-1 and GHN-2: messages along the edges in the order of execution, and back.

A node is updated after all nodes it depends on, so its new state needs only its ancestors (on the way back, its
descendants). Nodes of one topological level do not depend on each other: they are updated together, over all graphs of
the meta-batch, which gives the same states as one node after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

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
            Neighbors are among them, as in the published checkpoints, where Eq. 4 begins at distance 2.
        propagation_steps: propagations T.
        bidirectional: whether each propagation also runs against the edges.

    Shapes:
        x (N, d), graphs with N nodes -> (N, d)
    """

    def __init__(
        self, hidden: int, virtual_edges: bool = True, propagation_steps: int = 1, bidirectional: bool = True
    ) -> None:
        super().__init__()
        # Two networks for messages have as many parameters together as the one of GHN-1.
        self.message = MLP(hidden, (hidden // 2 if virtual_edges else hidden, hidden), last_activation=True)
        if virtual_edges:
            self.virtual_message = MLP(hidden, (hidden // 2, hidden), last_activation=True)
        self.gru = nn.GRUCell(hidden, hidden)
        self.virtual_edges = virtual_edges
        self.propagation_steps, self.bidirectional = propagation_steps, bidirectional

    def forward(self, x: Tensor, graphs: GraphBatch) -> Tensor:
        """Return node features after all propagations."""
        pairs = _message_pairs(graphs, self.virtual_edges)
        directions = (False, True) if self.bidirectional else (False,)
        schedules = [_LevelSchedule(graphs, pairs, reverse) for reverse in directions]
        for _ in range(self.propagation_steps):
            for schedule in schedules:
                x = self._sweep(x, schedule)
        return x

    def _sweep(self, x: Tensor, schedule: "_LevelSchedule") -> Tensor:
        messages = [self.message, self.virtual_message] if self.virtual_edges else [self.message]
        first, second = zip(*(mlp.linears for mlp in messages), strict=True)
        weights = (
            torch.cat([linear.weight for linear in first]),
            torch.cat([linear.bias for linear in first]),
            torch.block_diag(*(linear.weight for linear in second)),  # type: ignore[no-untyped-call, unused-ignore]
            torch.cat([linear.bias for linear in second]),
        )
        gru = self.gru
        with torch.autocast(x.device.type, enabled=False):  # the sweep is limited by latency, not by arithmetic
            states: Tensor = _Sweep.apply(
                x.float()[schedule.order] if x.dtype in (torch.bfloat16, torch.float16) else x[schedule.order],
                schedule.adjacency.to(gru.weight_ih.dtype),
                schedule.bounds,
                *(gru.weight_ih, gru.weight_hh, gru.bias_ih, gru.bias_hh),
                *weights,
            )
        return states[schedule.rank]


class _LevelSchedule:
    """The nodes of a meta-batch in the order of their levels.

    Shapes:
        order: (N,) node at each place; rank: (N,) place of each node.
        bounds: first place of every level, then N.
        adjacency: (N, c N) how much the node at place i takes of the c messages of the node at place j < i, in columns
            c j to c j + c - 1: 1 from neighbors, 1 / distance over virtual edges.
    """

    def __init__(self, graphs: GraphBatch, pairs: "_MessagePairs", reverse: bool) -> None:
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
class _MessagePairs:
    """Nodes that exchange messages.

    Shapes:
        ends: (2, P) from node, to node, in the direction of the edges.
        weights: (c, P) of the c messages.
    """

    ends: Tensor
    weights: Tensor


def _message_pairs(graphs: GraphBatch, virtual_edges: bool) -> _MessagePairs:
    connected = [torch.nonzero(d > 0 if virtual_edges else d == 1) for d in graphs.distances]
    lengths = torch.cat([d[p[:, 0], p[:, 1]] for d, p in zip(graphs.distances, connected, strict=True)])
    ends = torch.cat([p + offset for p, offset in zip(connected, graphs.offsets, strict=True)]).T
    true = (lengths == 1).float()
    return _MessagePairs(ends, torch.stack([true, 1 / lengths.float()]) if virtual_edges else true[None])


def _levels(edge_index: NDArray[np.integer], n_nodes: int, reverse: bool) -> NDArray[np.int64]:
    """Return the length of the longest path into each node (N,), or out of it."""
    level = [0] * n_nodes
    sources, targets = edge_index.tolist()
    if reverse:
        for source, target in sorted(zip(sources, targets, strict=True), reverse=True):
            level[source] = max(level[source], level[target] + 1)
    else:
        for target, source in sorted(zip(targets, sources, strict=True)):
            level[target] = max(level[target], level[source] + 1)
    return np.array(level)


class _SavedSweep(NamedTuple):
    """Tensors that the backward pass of a sweep needs; rows are the N nodes in the order of their levels.

    Shapes:
        x (N, d), adjacency (N, c N), w_ih (3 d, d), w_hh (3 d, d), u1 (e, d), u2 (c d, e), recurrent (N, 3 d),
        m (N, d), gates (N, 3 d), h (N, d), hidden (N, e), messages (N, c d)
    """

    x: Tensor
    adjacency: Tensor
    w_ih: Tensor
    w_hh: Tensor
    u1: Tensor
    u2: Tensor
    recurrent: Tensor
    m: Tensor
    gates: Tensor
    h: Tensor
    hidden: Tensor
    messages: Tensor


class _Sweep(torch.autograd.Function):
    """One propagation: updates all nodes, level after level.

    For a node with features x that receives messages from earlier nodes (A is the adjacency, * elementwise):

        m = A messages                                       sum of messages
        i = W_ih m + b_ih,  r = W_hh x + b_hh                gates: reset, update, new (subscripts p, z, n)
        p = sigmoid(i_p + r_p),  z = sigmoid(i_z + r_z),  n = tanh(i_n + p * r_n)
        h = n + z * (x - n)                                  the GRU's new state
        hidden = relu(U_1 h + c_1),  messages = relu(U_2 hidden + c_2)

    With g the gradient with respect to h, from the loss and from the messages of this node, the chain rule gives

        d_n = g * (1 - z) * (1 - n^2),  d_z = g * (x - n) * z * (1 - z),  d_p = d_n * r_n * p * (1 - p)
        grad m = W_ih^T (d_p, d_z, d_n)
        grad r = (d_p, d_z, p * d_n)
        grad x = g * z + W_hh^T grad r

    and for the messages of an earlier node, which later levels have received,

        grad messages = [messages > 0] * A^T grad m
        grad hidden = [hidden > 0] * U_2^T grad messages
        g += U_1^T grad hidden

    Only `grad m`, `grad messages`, `grad hidden` and `g` depend on the order; the factors of g and the gradients of the
    weights are computed for all nodes at once. The gradient is written by hand because autograd would keep hundreds of
    small tensors, and copy the messages at every level.
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
        saved = _SavedSweep(x, adjacency, w_ih, w_hh, u1, u2, recurrent, m, gates, h, hidden, messages)
        ctx.save_for_backward(*saved)
        ctx.bounds = bounds
        return h

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = _SavedSweep(*ctx.saved_tensors)
        sweep = _sweep_back(grad, saved, ctx.bounds)
        grad_recurrent = sweep.gates.clone()
        reset, update, _ = _split_gates(saved.gates)
        grad_recurrent[:, 2 * saved.x.shape[1] :] *= reset
        grad_x = torch.addmm(sweep.h * update, grad_recurrent, saved.w_hh)
        return (
            grad_x,
            None,
            None,
            sweep.gates.T @ saved.m,
            grad_recurrent.T @ saved.x,
            sweep.gates.sum(0),
            grad_recurrent.sum(0),
            sweep.hidden.T @ saved.h,
            sweep.hidden.sum(0),
            sweep.messages.T @ saved.hidden,
            sweep.messages.sum(0),
        )


class _SweepGradients(NamedTuple):
    """Gradients with respect to what each node computes: h (g in `_Sweep`), its gates (d_p, d_z, d_n), and so on."""

    h: Tensor
    gates: Tensor
    messages: Tensor
    hidden: Tensor


def _sweep_back(grad: Tensor, saved: _SavedSweep, bounds: Sequence[int]) -> _SweepGradients:
    """Go through the levels from the last to the first; see the derivation of `_Sweep`."""
    nodes, d = saved.x.shape
    channels = saved.messages.shape[1] // d
    factors = _gate_factors(saved)  # (N, 3, d)
    sent, active = saved.messages > 0, saved.hidden > 0
    grad_h = grad.clone()
    grad_gates = torch.empty_like(saved.gates)
    grad_m = torch.empty_like(saved.m)
    grad_messages = torch.zeros_like(saved.messages)
    grad_hidden = torch.zeros_like(saved.hidden)
    adjacency_t = saved.adjacency.T
    for s, e in zip(reversed(bounds[:-1]), reversed(bounds[1:]), strict=True):
        grad_l = grad_h[s:e]
        if e < nodes:
            received = torch.mm(adjacency_t[channels * s : channels * e, e:], grad_m[e:]).view(e - s, channels * d)
            sent_l = torch.mul(received, sent[s:e], out=grad_messages[s:e])
            hidden_l = torch.mm(sent_l, saved.u2, out=grad_hidden[s:e]).mul_(active[s:e])
            grad_l.addmm_(hidden_l, saved.u1)
        gates_l = grad_gates[s:e]
        torch.mul(grad_l.unsqueeze(1), factors[s:e], out=gates_l.view(e - s, 3, d))
        torch.mm(gates_l, saved.w_ih, out=grad_m[s:e])
    return _SweepGradients(grad_h, grad_gates, grad_messages, grad_hidden)


def _gate_factors(saved: _SavedSweep) -> Tensor:
    """Return d_p / g, d_z / g and d_n / g of all nodes (N, 3, d)."""
    reset, update, new = _split_gates(saved.gates)
    by_new = (1 - update) * (1 - new * new)
    by_reset = by_new * saved.recurrent[:, 2 * saved.x.shape[1] :] * reset * (1 - reset)
    by_update = (saved.x - new) * update * (1 - update)
    return torch.stack([by_reset, by_update, by_new], dim=1)


def _split_gates(gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split (N, 3 d) into reset, update and new, each (N, d)."""
    reset, update, new = gates.view(len(gates), 3, -1).unbind(1)
    return reset, update, new
