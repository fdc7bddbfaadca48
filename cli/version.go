package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"ringway/cli/console"
)

// build is which program this is.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a changed tree
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show which release this is",
		Example: `  ringway version
  ringway version -o json`,
		Args: console.NoArgs,
	}
	output := console.OutputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		b := a.build()
		if *output == console.AsJSON {
			return console.WriteJSON(a.Out, b)
		}
		_, err := fmt.Fprintln(a.Out, b)
		return err
	}
	return cmd
}

func (b build) String() string {
	line := "ringway " + b.Version
	if b.Commit != "" {
		line += " (" + b.Commit + ")"
	}
	return fmt.Sprintf("%s, %s, %s", line, b.Go, b.Platform)
}

func (a *app) build() build {
	b := build{Version: cmp.Or(a.w.Version, "development"), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
