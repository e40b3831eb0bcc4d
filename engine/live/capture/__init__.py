"""`cmm capture`: one's own recorder of public market data."""
