"""The Warp kernels, one source for CPU and CUDA; each file is one Warp module, compiled when first used and cached."""
