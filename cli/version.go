package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
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
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		b := a.build()
		if *output == asJSON {
			return writeJSON(a.out, b)
		}
		line := "ringway " + b.Version
		if b.Commit != "" {
			line += " (" + b.Commit + ")"
		}
		_, err := fmt.Fprintf(a.out, "%s, %s, %s\n", line, b.Go, b.Platform)
		return err
	}
	return cmd
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
