"""Files that hold a program of PyTorch: TorchScript archives and programs of torch.export."""
