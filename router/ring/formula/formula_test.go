package formula

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ringway/router/ring"
)

func compileFor(t testing.TB, s Set, size int) ring.Functions {
	t.Helper()
	fn, err := Compile(s.H, s.Phi, size, 9)
	if err != nil {
		t.Fatal(err)
	}
	return fn
}

func TestCompile_CalculatesWithIntegers(t *testing.T) {
	const size = 65521 // a prime, so that nothing is hidden by powers of two
	f := func(expression string, i, want int64) {
		t.Helper()
		fn, err := Compile("", expression, size, 1) // as phi, for which less is tried than for h
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			return
		}
		if want %= size; want < 0 {
			want += size
		}
		if got := fn.Phi(uint64(i), 0); got != uint64(want) {
			t.Errorf("%s for i = %d: got %d, want %d", expression, i, got, want)
		}
	}
	f("i*i + 2*i + 17", 100000, 100000*100000+2*100000+17)
	f("i / 7", 100000, 100000/7)
	f("i % 7", 100000, 100000%7)
	f("i ** 2", 100003, 100003*100003)
	f("2 ** 3 ** 2 + i - i", 100000, 512)
	f("i ** 0", 100000, 1)
	f("-i", 100000, -100000)
	f("+i", 100000, 100000)
	f("0 - i / 7", 100000, -(100000 / 7))
	f("(0 - i) % 7", 100000, -(100000 % 7))
	f("1 - 2 * i", 999999, 1-2*999999)
	f("i * 9223372036854775807", 100000, -100000) // wraps around
	f("(0 - 9223372036854775807 - 1) / (0 - 1) + 0 * i", 100000, -1<<63)
	f("bitand(i, 255)", 100000, 100000&255)
	f("bitor(i, 255)", 100000, 100000|255)
	f("bitxor(i, 255)", 100000, 100000^255)
	f("bitnand(i, 255)", 100000, 100000&^255)
	f("bitnot(i)", 100000, -100001)
	f("bitshl(i, 3)", 100000, 100000<<3)
	f("bitshr(-i, 3)", 100000, -100000>>3)
	f("bitushr(-i, 50)", 100000, 1<<14-1)
	f("bitshl(i, 64)", 100000, 0)
	f("0xff + i", 100000, 100255)
	f("  i\n+ 1 ", 100000, 100001)
}

func TestCompile_TakesResultsBelowZeroModuloTheSize(t *testing.T) {
	fn, err := Compile("100000 - i", "j - i", 7, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{0, 6, 5, 4, 3, 2, 1, 0, 6} {
		if got := fn.H(100000 + uint64(i)); got != want {
			t.Errorf("H is %d for %d below zero, want %d", got, i, want)
		}
	}
	if got := fn.Phi(3, 1); got != 5 {
		t.Errorf("Phi is %d for -2 modulo 7, want 5", got)
	}
}

func TestCompile_NamesWhatIsWrongAndWhere(t *testing.T) {
	f := func(h, phi, want string) {
		t.Helper()
		if _, err := Compile(h, phi, 512, 9); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("h %q, phi %q: got %v, want an error with %q", h, phi, err, want)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("the error has several lines: %q", err)
		}
	}
	f("i + x", "", `hash function h: column 5: variable "x" is unknown; use i`)
	f("i + j", "", `variable "j" is unknown; use i`)
	f("", "i + k", `hash function phi: column 5: variable "k" is unknown; use i and j`)
	f("i * 1.5", "", "column 5: 1.5 is not an integer")
	f("i +", "", "column ")
	f("i ^ 2", "", "use ** for a power, bitxor(a, b)")
	f("i == 2", "", `operator "==" is not available`)
	f("1..i", "", `operator ".." is not available`)
	f("not i", "", `operator "not" is not available`)
	f("sum(map(1..100000000, # * i))", "", `function "sum" is not available`)
	f("hash(i)", "", "no such function")
	f("bitand(i)", "", "takes 2 arguments, not 1")
	f("bitnot(i, i)", "", "takes 1 argument, not 2")
	f(`"text"`, "", "no integer arithmetic")
	f("true", "", "no integer arithmetic")
	f("i ? 1 : 2", "", "no integer arithmetic")
	f("99999999999999999999 + i", "", "column ")
	f(strings.Repeat("i+", 200)+"i", "", "401 characters are too many")
	f(" ", "", "column ")
}

func TestCompile_TriesEveryInput(t *testing.T) {
	f := func(h, phi, want string) {
		t.Helper()
		if _, err := Compile(h, phi, 512, 9); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("h %q, phi %q: got %v, want an error with %q", h, phi, err, want)
		}
	}
	f("1 / (i - 132574)", "", "column 3: division by zero for i = 132574")
	f("1 % (i - 999999)", "", "modulo by zero for i = 999999")
	f("2 ** (100000 - i)", "", "a power below 0 is not an integer for i = 100001")
	f("bitshl(1, 100000 - i)", "", "a shift below 0 is not possible for i = 100001")
	f("", "1 / (i - 512)", "division by zero for i = 512, j = 0")
	f("", "1 / (j - 8)", "division by zero for i = 1, j = 8")
}

func TestCompile_RefusesTablesThatCannotBe(t *testing.T) {
	for _, c := range [][2]int{{0, 9}, {ring.MaxSize + 1, 9}, {512, 0}, {512, 513}, {ring.MaxSize, 17}} {
		if _, err := Compile("i", "i", c[0], c[1]); err == nil {
			t.Errorf("%d slots, %d a member: no error", c[0], c[1])
		}
	}
}

func TestCompile_EmptyMeansOfficial(t *testing.T) {
	official := Sets()[0]
	written := compileFor(t, official, 512)
	empty := compileFor(t, Set{}, 512)
	if !slices.Equal(ring.Requests(512, written.H), ring.Requests(512, empty.H)) {
		t.Error("H as an expression differs from H as compiled in")
	}
	for i := range uint64(57) {
		for j := range uint64(9) {
			if got, want := written.Phi(i, j), empty.Phi(i, j)%512; got != want {
				t.Fatalf("Phi(%d, %d) is %d as an expression, %d as compiled in", i, j, got, want)
			}
		}
	}
}

// maxShare is the largest share of the request ids, whose slots are given,
// relative to the mean.
func maxShare(t *testing.T, fn ring.Functions, slots []uint16, n int) float64 {
	t.Helper()
	members := make([]ring.Member, n)
	for i := range members {
		members[i] = ring.Member{Name: fmt.Sprint(i + 1), ID: i + 1, Weight: 1}
	}
	table, err := ring.Course(512, 9, members, fn)
	if err != nil {
		t.Fatal(err)
	}
	count := make([]int, n)
	for _, s := range slots {
		count[table.Owner(int(s))]++
	}
	return float64(slices.Max(count)*n) / float64(len(slots))
}

func TestSets_AreBetterThanTheOfficialOne(t *testing.T) {
	for _, s := range Sets() {
		fn := compileFor(t, s, 512)
		slots := ring.Requests(512, fn.H)
		for n := 2; n <= 6; n++ {
			if worst := maxShare(t, fn, slots, n); (worst > 1.9) != (s.Name == "official") {
				t.Errorf("%s, %d members: the most loaded has %.2f times the mean", s.Name, n, worst)
			}
		}
		if found, ok := Named(s.Name); !ok || found != s {
			t.Errorf("set %q is not found by its name", s.Name)
		}
	}
	if _, ok := Named("nonsense"); ok {
		t.Error("a set called nonsense was found")
	}
}

// FuzzCompile looks for expressions that crash or leave the table.
func FuzzCompile(f *testing.F) {
	for _, s := range Sets() {
		f.Add(s.Phi)
	}
	for _, s := range []string{"", "((((", "i**j", "i/j", "let x = i; x", "[i][0]", "i?.j", "#", "{i: j}", "i;j", "-9223372036854775808 % -1", "i | bitand(3)", "'\x00'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, phi string) {
		fn, err := Compile("", phi, 64, 3)
		if err != nil || phi == "" {
			return
		}
		for i := range uint64(70) {
			if v := fn.Phi(i, i%3); v >= 64 {
				t.Fatalf("Phi(%d) is %d of 64 slots", i, v)
			}
		}
	})
}
