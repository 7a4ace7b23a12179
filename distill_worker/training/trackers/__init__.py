"""What shows a training's metrics elsewhere: TensorBoard, MLflow, Weights & Biases, and trackers of other packages."""
