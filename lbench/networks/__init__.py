"""Network families: options and a method that builds the network."""
