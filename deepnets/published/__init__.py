"""The file format of the published DeepNets-1M: import, export, and download from the hub."""
