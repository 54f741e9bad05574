// Package lint holds the rules of the house that a program can check, and its test applies them to this repository. It has
// no place in the walk of a token.
//
// A rule is a function from a Tree, the parsed source, to the Problems found; each has a test that shows it a tree with the
// mistake. What the rules allow stands in policy.go and nowhere else: the table of imports, the home of each third-party
// module, the exceptions with their reasons. An exception that nothing needs any more is a problem too.
//
// A Tree is read-only after Load and safe for concurrent use.
package lint
