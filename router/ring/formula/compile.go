package formula

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// eval calculates for one i and j. After a fault its result means nothing.
type eval func(i, j int64, f *fault) int64

// fault is the first thing that went wrong, and where.
type fault struct {
	why    string
	column int
}

func (f *fault) set(column int, why string) int64 {
	if f.why == "" {
		f.why, f.column = why, column
	}
	return 0
}

// compiler makes closures of a syntax tree. It knows integers and nothing
// else: no node that loops, so the cost is bounded by the text's length.
type compiler struct {
	variables []string
}

const available = "use + - * / % ** and bitand, bitor, bitxor, bitnand, bitshl, bitshr, bitushr, bitnot"

func (c *compiler) node(n ast.Node) (eval, error) {
	column := n.Location().From + 1
	switch n := n.(type) {
	case *ast.IntegerNode:
		v := int64(n.Value)
		return func(int64, int64, *fault) int64 { return v }, nil
	case *ast.FloatNode:
		return nil, fmt.Errorf("column %d: %v is not an integer", column, n.Value)
	case *ast.IdentifierNode:
		return c.variable(n.Value, column)
	case *ast.UnaryNode:
		return c.unary(n, column)
	case *ast.BinaryNode:
		return c.call(n.Operator, fmt.Sprintf("operator %q", n.Operator), column, n.Left, n.Right)
	case *ast.BuiltinNode:
		return c.builtin(n, column)
	case *ast.CallNode:
		return nil, fmt.Errorf("column %d: there is no such function; %s", column, available)
	}
	return nil, fmt.Errorf("column %d: this is no integer arithmetic; %s", column, available)
}

func (c *compiler) variable(name string, column int) (eval, error) {
	switch {
	case !slices.Contains(c.variables, name):
		return nil, fmt.Errorf("column %d: variable %q is unknown; use %s", column, name, strings.Join(c.variables, " and "))
	case name == "j":
		return func(_, j int64, _ *fault) int64 { return j }, nil
	default:
		return func(i, _ int64, _ *fault) int64 { return i }, nil
	}
}

func (c *compiler) unary(n *ast.UnaryNode, column int) (eval, error) {
	x, err := c.node(n.Node)
	if err != nil {
		return nil, err
	}
	switch n.Operator {
	case "+":
		return x, nil
	case "-":
		return func(i, j int64, f *fault) int64 { return -x(i, j, f) }, nil
	}
	return nil, fmt.Errorf("column %d: operator %q is not available; %s", column, n.Operator, available)
}

func (c *compiler) builtin(n *ast.BuiltinNode, column int) (eval, error) {
	name := fmt.Sprintf("function %q", n.Name)
	switch {
	case n.Name == "bitnot" && len(n.Arguments) == 1:
		x, err := c.node(n.Arguments[0])
		if err != nil {
			return nil, err
		}
		return func(i, j int64, f *fault) int64 { return ^x(i, j, f) }, nil
	case !strings.HasPrefix(n.Name, "bit"):
		return nil, fmt.Errorf("column %d: %s is not available; %s", column, name, available)
	case n.Name == "bitnot":
		return nil, fmt.Errorf("column %d: %s takes 1 argument, not %d", column, name, len(n.Arguments))
	case len(n.Arguments) != 2:
		return nil, fmt.Errorf("column %d: %s takes 2 arguments, not %d", column, name, len(n.Arguments))
	}
	return c.call(n.Name, name, column, n.Arguments[0], n.Arguments[1])
}

// call joins two operands by an operator or function.
func (c *compiler) call(op, shown string, column int, left, right ast.Node) (eval, error) {
	join, ok := joins[op]
	if op == "^" {
		return nil, fmt.Errorf("column %d: %s is not available; use ** for a power, bitxor(a, b) for exclusive or", column, shown)
	}
	if !ok {
		return nil, fmt.Errorf("column %d: %s is not available; %s", column, shown, available)
	}
	x, err := c.node(left)
	if err != nil {
		return nil, err
	}
	y, err := c.node(right)
	if err != nil {
		return nil, err
	}
	return func(i, j int64, f *fault) int64 {
		v, why := join(x(i, j, f), y(i, j, f))
		if why != "" {
			return f.set(column, why)
		}
		return v
	}, nil
}

// joins names what it refuses, or "".
var joins = map[string]func(x, y int64) (v int64, why string){
	"+":       func(x, y int64) (int64, string) { return x + y, "" },
	"-":       func(x, y int64) (int64, string) { return x - y, "" },
	"*":       func(x, y int64) (int64, string) { return x * y, "" },
	"/":       divide,
	"%":       modulo,
	"**":      power,
	"bitand":  func(x, y int64) (int64, string) { return x & y, "" },
	"bitor":   func(x, y int64) (int64, string) { return x | y, "" },
	"bitxor":  func(x, y int64) (int64, string) { return x ^ y, "" },
	"bitnand": func(x, y int64) (int64, string) { return x &^ y, "" }, // as expr-lang has it
	"bitshl":  shift(func(x int64, n uint64) int64 { return x << n }),
	"bitshr":  shift(func(x int64, n uint64) int64 { return x >> n }),
	"bitushr": shift(func(x int64, n uint64) int64 { return int64(uint64(x) >> n) }),
}

func divide(x, y int64) (int64, string) {
	if y == 0 {
		return 0, "division by zero"
	}
	return x / y, ""
}

func modulo(x, y int64) (int64, string) {
	if y == 0 {
		return 0, "modulo by zero"
	}
	return x % y, ""
}

func power(x, n int64) (int64, string) {
	if n < 0 {
		return 0, "a power below 0 is not an integer"
	}
	v := int64(1)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			v *= x
		}
		x *= x
	}
	return v, ""
}

func shift(by func(x int64, n uint64) int64) func(x, n int64) (int64, string) {
	return func(x, n int64) (int64, string) {
		if n < 0 {
			return 0, "a shift below 0 is not possible"
		}
		return by(x, uint64(n)), ""
	}
}
