package formula

// Set is a pair of hash functions with a name, for the analysis.
type Set struct {
	Name string
	H    string
	Phi  string
	Idea string // one line for people
}

// Sets are those that ship with Ringway, the official one first.
func Sets() []Set {
	return []Set{
		{
			Name: "official",
			H:    "i*i + 2*i + 17",
			Phi:  "i*i + j*j + 2*j + 25",
			Idea: "as the assignment has them: squares reach few slots, and members sit side by side",
		},
		{
			Name: "linear",
			H:    "i",
			Phi:  "57*j + 35*i",
			Idea: "request ids are random already; a member's slots are spread evenly, members interleave",
		},
		{
			Name: "fibonacci",
			H:    "bitushr(bitand(i * 2654435761, 4294967295), 16)",
			Phi:  "bitushr(bitand((64*j + i) * 2654435761, 4294967295), 23)",
			Idea: "multiplicative hashing by the golden ratio (Knuth), which keeps consecutive numbers apart",
		},
		{
			Name: "mixed",
			H:    "bitxor(i * 2246822519, bitushr(i * 2246822519, 15)) * 3266489917 / 65536",
			Phi:  "bitxor((64*i + j) * 2246822519, bitushr((64*i + j) * 2246822519, 15)) * 3266489917 / 65536",
			Idea: "multiply, fold, multiply (the constants are xxHash32's): as good as random, which is not even",
		},
	}
}

// Named finds a set by its name.
func Named(name string) (Set, bool) {
	for _, s := range Sets() {
		if s.Name == name {
			return s, true
		}
	}
	return Set{}, false
}
