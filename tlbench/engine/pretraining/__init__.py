"""Pre-training: documents to packed tokens, three objectives, a resumable run, and a model folder with its card."""
