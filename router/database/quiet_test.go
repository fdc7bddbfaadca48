package database

import "log/slog"

var quiet = slog.New(slog.DiscardHandler)
