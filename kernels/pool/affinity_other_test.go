//go:build !linux

package pool

const canPin = false
