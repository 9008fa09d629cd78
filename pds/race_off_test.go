//go:build !race

package pds_test

const raceEnabled = false
