"""A run as processes: runner, engines, events, control, gauges. Knows no screen and no science."""
