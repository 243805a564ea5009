"""What the studies that keep a likelihood share: chains, ways to keep it, rows of figures."""
