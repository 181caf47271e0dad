"""Image classification data: data sets, their splits, and augmentation."""
