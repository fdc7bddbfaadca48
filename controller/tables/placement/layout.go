package placement

import (
	"cmp"
	"slices"
)

// Layout gives shards to servers. What is given to a server stands as it is,
// and one that is given something gets more only of what nobody keeps. The
// others are free: each shard gets as many copies as there are servers for it,
// on the servers that have the fewest, so that those that are free end within
// one of each other.
func Layout(shards []string, given [][]string, copies int) [][]string {
	servers, have := make([][]string, len(given)), map[string]int{}
	for i, ids := range given {
		servers[i] = append([]string{}, ids...)
		for _, id := range ids {
			have[id]++
		}
	}
	for _, id := range shards {
		var may []int
		for i := range given {
			if free := len(given[i]) == 0; free || have[id] == 0 {
				may = append(may, i)
			}
		}
		slices.SortFunc(may, func(a, b int) int {
			return cmp.Or(cmp.Compare(min(len(given[a]), 1), min(len(given[b]), 1)), cmp.Compare(len(servers[a]), len(servers[b])), cmp.Compare(a, b))
		})
		for _, i := range may[:min(len(may), max(copies-have[id], 0))] {
			servers[i] = append(servers[i], id)
		}
	}
	return servers
}

// Share fills new servers that were given nothing: each takes the mean load of
// all servers, of the shards that have the fewest copies.
func Share(shards []string, old, added [][]string) [][]string {
	count, total := map[string]int{}, 0
	for _, ids := range append(slices.Clone(old), added...) {
		for _, id := range ids {
			count[id]++
			total++
		}
	}
	mean := max(1, total/max(1, len(old)+len(added)))
	for i := range added {
		if len(added[i]) > 0 {
			continue
		}
		order := slices.Clone(shards)
		slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(count[a], count[b]) })
		for _, id := range order[:min(mean, len(order))] {
			added[i] = append(added[i], id)
			count[id]++
		}
	}
	return added
}
