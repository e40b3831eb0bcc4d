"""What the loopback exchange does wrong, on purpose."""

from __future__ import annotations

import msgspec


class Faults(msgspec.Struct):
    """Faults that are switched on while the exchange runs. Times in seconds; counts are used up."""

    reject_creates: int = 0
    reject_amends: int = 0
    reject_cancels: int = 0
    reject_code: int = 10016
    command_delay_s: float = 0.0
    """Commands come in so much later: a slower way to the exchange."""
    ack_delay_s: float = 0.0
    drop_acks: int = 0
    """Commands that are carried out and never answered."""
    lose_commands: int = 0
    """Commands that get lost on their way."""
    private_delay_s: float = 0.0
    private_duplicate: bool = False
    private_shuffle: bool = False
    private_mute: bool = False
    """The socket stays up and nothing comes: half-open."""
    public_mute: bool = False
    public_delay_s: float = 0.0
    skip_public: int = 0
    """Book messages that get lost: a gap in the sequence."""
    duplicate_public: bool = False
    cross_book: bool = False
    one_sided: bool = False
    http_status: int = 0
    """Answer all REST calls with this status."""
    http_hang: bool = False
    banned: bool = False
    refuse_sockets: bool = False
    clock_skew_s: float = 0.0
    garbage: int = 0
    """Private messages that are no JSON."""

    def use(self, name: str) -> bool:
        """Whether one of a counted fault was left; it is used up."""
        left: int = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left > 0
