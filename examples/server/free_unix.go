//go:build darwin || linux

package main

import "golang.org/x/sys/unix"

// freeBytes is how much the disk of a folder has left for this user.
func freeBytes(dir string) (free uint64, known bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return st.Bavail * uint64(st.Bsize), true
}
