"""A loopback exchange: a venue's own protocol in front of a price-time matching engine, on this machine."""
