package pool

const canPin = true
