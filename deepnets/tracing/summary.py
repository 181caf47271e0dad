"""Traced graphs as text for people, and as plain values for other programs."""

from collections import Counter
from typing import Any

from deepnets.graphs.arch_graph import ArchGraph
from deepnets.graphs.primitives import PRIMITIVES

_EXAMPLES = 3


def summary(name: str, graph: ArchGraph, seconds: float) -> str:
    """Return a few lines of text: size, primitives, and the parameters without a node with the reasons."""
    counts = Counter(PRIMITIVES[op] for op in graph.op)
    lines = [
        f"{name}: {len(graph)} nodes, {graph.edge_index.shape[1]} edges, traced in {seconds:.2f} s",
        "  " + ", ".join(f"{count} {primitive}" for primitive, count in counts.most_common()),
    ]
    if graph.report is not None:
        reasons: dict[str, list[str]] = {}
        for parameter, why in graph.report.unnamed.items():
            reasons.setdefault(why, []).append(parameter)
        for why, names in reasons.items():
            more = ", ..." if len(names) > _EXAMPLES else ""
            lines.append(f"  {len(names)} without a node, {why}: {', '.join(names[:_EXAMPLES])}{more}")
        lines.extend(f"  note: {note}" for note in graph.report.notes)
    return "\n".join(lines)


def graph_dict(graph: ArchGraph) -> dict[str, Any]:
    """Return nodes, edges and report as plain values, ready for JSON."""
    report = graph.report
    return {
        "nodes": [
            {"op": PRIMITIVES[op], "name": name, "shape": shape if any(shape) else None}
            for op, name, shape in zip(graph.op.tolist(), graph.name.tolist(), graph.shape.tolist(), strict=True)
        ],
        "edges": graph.edge_index.T.tolist(),
        "report": None
        if report is None
        else {
            "unnamed": report.unnamed,
            "absorbed": report.absorbed,
            "left_out": report.left_out,
            "notes": list(report.notes),
        },
    }
