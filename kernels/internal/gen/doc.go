// Package gen is the home of the programs that write the assembly of the packages beside it. It is a module of its own, so that
// the product does not depend on what only its authors need.
package gen
