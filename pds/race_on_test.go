//go:build race

package pds_test

const raceEnabled = true
