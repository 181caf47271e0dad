"""Average precision of detected boxes, computed by pycocotools."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating]


def average_precision(truth: Sequence[Boxes], detections: Sequence[tuple[Boxes, Boxes]], iou: float = 0.5) -> float:
    """Compute average precision as in COCO: the mean precision at 101 levels of recall, with 100 boxes per image.

    Boxes are matched in the order of their scores. A box is correct if its intersection over union with a true box that
    is not matched yet is at least `iou`.

    Args:
        truth: true boxes (P, 4) of each image, as left, top, right and bottom edge; at least one box in all.
        detections: boxes (D, 4) and scores (D,) of each image.
        iou: smallest intersection over union of a correct box.

    Returns:
        Average precision, 0 to 1.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = [
        (image, *box, score)
        for image, (boxes, scores) in enumerate(detections)
        for box, score in zip(_widths(boxes), scores.tolist(), strict=True)
    ]
    if not rows:
        return 0.0
    with redirect_stdout(io.StringIO()):  # it tells of its progress
        known = COCO()
        known.dataset = _dataset(truth)
        known.createIndex()
        detected = known.loadRes(np.array([(*row, 1) for row in rows], np.float64))
        evaluation = COCOeval(known, detected, "bbox")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.evaluate()
        evaluation.accumulate()
    # Precision by IoU, recall, class, size of boxes (any first) and number of them (100 last).
    return float(evaluation.eval["precision"][0, :, 0, 0, -1].mean())


def _dataset(truth: Sequence[Boxes]) -> dict[str, Any]:
    """Return boxes in the format of COCO; annotations count from 1, as 0 means none there."""
    boxes = [(image, box) for image, part in enumerate(truth) for box in _widths(part)]
    return {
        "info": {},
        "images": [{"id": image} for image in range(len(truth))],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for i, (image, box) in enumerate(boxes, 1)
        ],
    }


def _widths(boxes: Boxes) -> list[list[float]]:
    """Convert edges to left, top, width and height."""
    rows: list[list[float]] = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    return rows
