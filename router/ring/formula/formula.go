// Package formula turns the expressions of a configuration into the hash
// functions of the course.
//
// An expression is arithmetic over 64-bit integers, which wraps around: + - * /
// % ** and bitand, bitor, bitxor, bitnand, bitshl, bitshr, bitushr, bitnot;
// / and % round towards zero. The syntax is that of expr-lang, the meaning is
// this package's, for expr-lang divides in floating point. What Compile accepts
// never fails later: it has tried all there is to ask.
package formula

import (
	"errors"
	"fmt"

	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"ringway/router/ring"
)

// Bounds of the cost of trying an expression on everything.
const (
	maxBytes = 200
	maxTries = 1 << 20
)

// Compile makes Functions for a table of size slots with k slots a member out
// of H, over the request id i, and Phi, over the member id i and the virtual
// member j. An empty expression is the official one. Results below zero are
// taken modulo size to 0..size-1, like all others.
func Compile(h, phi string, size, k int) (ring.Functions, error) {
	fn := ring.Official()
	if size < 1 || size > ring.MaxSize || k < 1 || k > size || size*k > maxTries {
		return fn, fmt.Errorf("hash functions of %d slots, %d a member: out of range", size, k)
	}
	if h != "" {
		eval, err := compile(h, "i")
		if err != nil {
			return fn, fmt.Errorf("hash function h: %w", err)
		}
		if err := tryH(eval); err != nil {
			return fn, fmt.Errorf("hash function h: %w", err)
		}
		fn.H = func(i uint64) uint64 { return reduce(eval, i, 0, size) }
	}
	if phi != "" {
		eval, err := compile(phi, "i", "j")
		if err != nil {
			return fn, fmt.Errorf("hash function phi: %w", err)
		}
		if err := tryPhi(eval, size, k); err != nil {
			return fn, fmt.Errorf("hash function phi: %w", err)
		}
		fn.Phi = func(i, j uint64) uint64 { return reduce(eval, i, j, size) }
	}
	return fn, nil
}

func compile(text string, variables ...string) (eval, error) {
	if len(text) > maxBytes {
		return nil, fmt.Errorf("%d characters are too many; use at most %d", len(text), maxBytes)
	}
	tree, err := parser.Parse(text)
	if err != nil {
		if at := new(file.Error); errors.As(err, &at) {
			return nil, fmt.Errorf("column %d: %s", at.Column+1, at.Message)
		}
		return nil, err
	}
	c := compiler{variables: variables}
	return c.node(tree.Node)
}

// tryH asks for every request id.
func tryH(e eval) error {
	for i := int64(ring.FirstRequest); i <= ring.LastRequest; i++ {
		var f fault
		if e(i, 0, &f); f.why != "" {
			return fmt.Errorf("column %d: %s for i = %d", f.column, f.why, i)
		}
	}
	return nil
}

// tryPhi asks for every id that ring.Course accepts.
func tryPhi(e eval, size, k int) error {
	for i := int64(1); i <= int64(size); i++ {
		for j := range int64(k) {
			var f fault
			if e(i, j, &f); f.why != "" {
				return fmt.Errorf("column %d: %s for i = %d, j = %d", f.column, f.why, i, j)
			}
		}
	}
	return nil
}

func reduce(e eval, i, j uint64, size int) uint64 {
	var f fault
	v := e(int64(i), int64(j), &f) % int64(size)
	if v < 0 {
		v += int64(size)
	}
	return uint64(v)
}
