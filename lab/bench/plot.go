package main

import (
	"fmt"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// draw puts seconds as bars into a file, two for each analysis.
func draw(file string, all []outcome, ops int) error {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%d single-row writes, and as many reads", ops)
	p.Y.Label.Text = "seconds"
	p.Y.Min = 0
	p.Legend.Top = true
	p.Legend.Left = true
	var names []string
	series := map[string]plotter.Values{}
	for _, a := range all {
		names = append(names, a.name)
		series["writes"] = append(series["writes"], a.writes.Spent.Seconds())
		series["reads"] = append(series["reads"], a.reads.Spent.Seconds())
	}
	const width = vg.Length(26)
	for i, name := range []string{"writes", "reads"} {
		bars, err := plotter.NewBarChart(series[name], width)
		if err != nil {
			return err
		}
		bars.Color = plotutil.Color(i)
		bars.LineStyle.Width = 0
		bars.Offset = width * vg.Length(2*i-1) / 2
		p.Add(bars)
		p.Legend.Add(name, bars)
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(all))-0.5
	p.Title.Padding, p.Legend.Padding = 8, 2
	return p.Save(6*vg.Inch, 4*vg.Inch, file)
}
