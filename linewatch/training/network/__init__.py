"""The networks and statistics behind a scorer: backbone, autoencoder, whitening and the compiled graph."""
