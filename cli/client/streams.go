package client

import (
	"fmt"
	"strings"

	"ringway/cli/console"
	"ringway/events/streams"
)

// StreamRows are, for each stream of a bus of several servers, its name, how many
// copies it has, who leads it, and which copies are behind. Of a bus that is one
// server there is nothing to say.
func StreamRows(all []streams.Status) (rows [][]any) {
	servers, most := map[string]bool{}, 0
	for _, s := range all {
		servers[s.Leader] = true
		most = max(most, s.Copies)
		copies, leader := fmt.Sprint(s.Copies), console.Printable(s.Leader)
		if s.Copies == 0 {
			copies = "?"
		}
		if s.Leader == "" {
			leader = "none now"
		}
		var behind []string
		for _, c := range s.Behind {
			why := fmt.Sprintf("%d behind", c.Lag)
			if c.Away {
				why = "away"
			}
			behind = append(behind, fmt.Sprintf("%s (%s)", console.Printable(c.Server), why))
		}
		if len(behind) == 0 {
			behind = append(behind, "-")
		}
		rows = append(rows, []any{s.Name, copies, leader, strings.Join(behind, ", ")})
	}
	if len(servers) < 2 && most < 2 {
		return nil
	}
	return rows
}
