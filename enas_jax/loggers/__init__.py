"""Where a run can be followed: TensorBoard, and services that are asked for."""
