"""Paper and live trading: the maker of the backtest against a running market."""
