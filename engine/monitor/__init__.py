"""The monitor: a web page on what traders do, fed by their telemetry, never waited for by them."""
