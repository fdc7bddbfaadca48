package console

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"ringway/events"
)

// LogFlags are those of all roles.
type LogFlags struct{ Level, Format string }

// Add adds them to cmd.
func (l *LogFlags) Add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.Level, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&l.Format, "log-format", "text", "text or json")
}

// Logger writes to w with the level and format of the flags.
func (l *LogFlags) Logger(w io.Writer, role string) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return nil, Usage("--log-level %q: use debug, info, warn or error", l.Level)
	}
	o := &slog.HandlerOptions{Level: level}
	var h slog.Handler
	switch l.Format {
	case "text":
		h = slog.NewTextHandler(w, o)
	case "json":
		h = slog.NewJSONHandler(w, o)
	default:
		return nil, Usage("--log-format %q: use text or json", l.Format)
	}
	return slog.New(h).With(events.KeyRole, role), nil
}
