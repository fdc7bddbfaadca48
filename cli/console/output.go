package console

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

// Format is the value of -o.
type Format string

// The two of them.
const (
	AsTable Format = "table"
	AsJSON  Format = "json"
)

// String, Type and Set implement pflag.Value.
func (f *Format) String() string { return string(*f) }
func (f *Format) Type() string   { return "table|json" }
func (f *Format) Set(s string) error {
	switch Format(s) {
	case AsTable, AsJSON:
		*f = Format(s)
		return nil
	}
	return fmt.Errorf("use %s or %s", AsTable, AsJSON)
}

// OutputFlag adds -o to a command.
func OutputFlag(cmd *cobra.Command) *Format {
	f := AsTable
	cmd.Flags().VarP(&f, "output", "o", "how to print")
	_ = cmd.RegisterFlagCompletionFunc("output", // fails only for a flag that is not there
		cobra.FixedCompletions([]string{string(AsTable), string(AsJSON)}, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

// WriteJSON prints v for programs.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// WriteTable prints columns without lines; right names those of numbers.
func WriteTable(w io.Writer, header []string, rows [][]any, right ...int) {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	top := make(table.Row, len(header))
	for i, h := range header {
		top[i] = h
	}
	t.AppendHeader(top)
	for _, r := range rows {
		for i, v := range r {
			if s, ok := v.(string); ok {
				r[i] = Printable(s)
			}
		}
		t.AppendRow(r)
	}
	var columns []table.ColumnConfig
	for _, n := range right {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	fmt.Fprintln(w, t.Render())
}
