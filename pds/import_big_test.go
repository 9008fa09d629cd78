package pds_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// Environment of the child process that serves in TestImportBigRepo.
const (
	bigEnv   = "PDSKIT_BIG"       // set by people: how many records, 1 for a million
	childEnv = "PDSKIT_BIG_CHILD" // folder of its files
)

// writeBigCAR writes the repository of did with n records to a file, in the
// order in which no reader wants it: records first, then nodes, root last.
func writeBigCAR(t testing.TB, path string, did syntax.DID, n int) (root cid.Cid) {
	t.Helper()
	nodes := map[cid.Cid][]byte{}
	tree := repo.EmptyTree()
	records := func(yield func(path string, rec *repo.Record)) {
		at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
		for i := range n {
			collection := []syntax.NSID{"app.bsky.feed.like", "app.bsky.feed.post", "app.bsky.graph.follow", "com.example.note"}[i%4]
			rec, err := repo.RecordFromValue(map[string]any{
				"createdAt": "2026-01-02T03:04:05.678Z", "text": fmt.Sprint("record number ", i),
				"subject": fmt.Sprintf("did:plc:%024d", i),
			}, collection)
			ok(t, err)
			yield(fmt.Sprintf("%s/%s", collection, syntax.NewTID(at+int64(i), 0)), rec)
		}
	}
	var batch []repo.Write
	flush := func() {
		diff, err := tree.Apply(batch)
		ok(t, err)
		for _, c := range diff.OldNodes {
			delete(nodes, c)
		}
		for _, b := range diff.NewNodes {
			nodes[b.CID] = b.Data
		}
		root, batch = diff.Root, nil
	}
	records(func(path string, rec *repo.Record) {
		if batch = append(batch, repo.Write{Path: path, CID: rec.CID}); len(batch) == 100_000 {
			flush()
		}
	})
	flush()

	key, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	c := repo.Commit{DID: did, Version: repo.CommitVersion, Data: root, Rev: syntax.NewTIDNow(1)}
	ok(t, c.Sign(key))
	commit, err := c.Block()
	ok(t, err)
	f, err := os.Create(path)
	ok(t, err)
	defer f.Close()
	buf := bufio.NewWriterSize(f, 1<<20)
	w, err := repo.NewCARWriter(buf, commit.CID)
	ok(t, err)
	records(func(_ string, rec *repo.Record) { ok(t, w.WriteBlock(repo.Block{CID: rec.CID, Data: rec.CBOR})) })
	for c, data := range nodes {
		ok(t, w.WriteBlock(repo.Block{CID: c, Data: data}))
	}
	ok(t, w.WriteBlock(commit))
	ok(t, buf.Flush())
	return root
}

// bigServer is what the child tells about itself.
type bigServer struct {
	URL        string
	Big, Small *pdstest.Account
}

// TestBigChild is the server of TestImportBigRepo, in a process of its own so
// that its memory can be measured. It ends with its standard input.
func TestBigChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		t.Skip("not a child process")
	}
	store, err := sqlite.Open(dir+"/pds.db", sqlite.Options{})
	ok(t, err)
	defer store.Close()
	disk, err := blobs.NewDisk(dir+"/blobs", blobs.DiskOptions{})
	ok(t, err)
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Store, c.Blobs, c.CheckCommits, c.ValidateOutput = store, disk, false, false
	})
	info := bigServer{srv.URL, srv.CreateAccount("big"), srv.CreateAccount("small")}
	info.Big.PDS, info.Small.PDS = nil, nil
	data, err := json.Marshal(info)
	ok(t, err)
	ok(t, os.WriteFile(dir+"/info.tmp", data, 0o600))
	ok(t, os.Rename(dir+"/info.tmp", dir+"/info"))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// Migration: import of 1 M records: imported and exported in bounded memory
// while another account writes. 20,000 records are enough for most runs; with
// PDSKIT_BIG=1 it is a million, and the latency of the other account counts,
// too, on a machine that has nothing else to do.
func TestImportBigRepo(t *testing.T) {
	n := scaled(20_000)
	given, _ := strconv.Atoi(os.Getenv(bigEnv))
	switch {
	case given == 1:
		n = 1_000_000
	case given > 1:
		n = given
	}
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBigChild$", "-test.timeout=30m")
	child.Env = append(os.Environ(), childEnv+"="+dir)
	stdin, err := child.StdinPipe()
	ok(t, err)
	ok(t, child.Start())
	defer func() {
		_ = stdin.Close()
		_ = child.Wait()
	}()
	var info bigServer
	for deadline := time.Now().Add(30 * time.Second); ; {
		data, err := os.ReadFile(dir + "/info")
		if err == nil {
			ok(t, json.Unmarshal(data, &info))
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the child does not start")
		}
		<-waitABit(t)
	}
	client := &pdstest.PDS{URL: info.URL}
	root := writeBigCAR(t, dir+"/repo.car", info.Big.DID, n)
	idle := peakRSS(t, child.Process.Pid)

	// Another account writes all the while.
	var phase latencies
	stop, stopped := make(chan struct{}), make(chan struct{})
	writeOne := func(i int) {
		begin := time.Now()
		h := http.Header{"Authorization": {"Bearer " + info.Small.Access}}
		_, err := client.Call(t.Context(), http.MethodPost, createRecord, nil, h, map[string]any{
			"repo": info.Small.DID, "collection": noteCollection, "record": map[string]any{"i": i},
		})
		if err != nil {
			t.Errorf("a write meanwhile: %v", err)
		}
		phase.add(time.Since(begin))
	}
	for i := range 100 {
		writeOne(i)
	}
	alone := phase.take()
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				writeOne(i)
			}
		}
	}()

	car, err := os.Open(dir + "/repo.car")
	ok(t, err)
	defer car.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, info.URL+"/xrpc/"+importRepo, car)
	ok(t, err)
	stat, err := car.Stat()
	ok(t, err)
	r.ContentLength = stat.Size()
	r.Header = http.Header{"Authorization": {"Bearer " + info.Big.Access}, "Content-Type": {"application/vnd.ipld.car"}}
	cpu := childCPU(t, child.Process.Pid)
	begin := time.Now()
	resp, err := http.DefaultClient.Do(r)
	ok(t, err)
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Fatalf("importRepo: %d %s", resp.StatusCode, body)
	}
	took, used := time.Since(begin), childCPU(t, child.Process.Pid)-cpu
	during := phase.take()
	imported := peakRSS(t, child.Process.Pid)
	t.Logf("import of %d records, %d MB: %v, %v of CPU, peak RSS %d MB (%d idle); writes meanwhile: %s; before: %s",
		n, stat.Size()>>20, took.Round(time.Millisecond), used, imported>>20, idle>>20, percentiles(during), percentiles(alone))

	begin, cpu = time.Now(), childCPU(t, child.Process.Pid)
	resp, err = http.Get(info.URL + "/xrpc/com.atproto.sync.getRepo?" + url.Values{"did": {string(info.Big.DID)}}.Encode())
	ok(t, err)
	defer resp.Body.Close()
	in, err := repo.NewCARReader(bufio.NewReaderSize(resp.Body, 1<<20), repo.CARLimits{})
	ok(t, err)
	blocks, found := 0, false
	for {
		b, err := in.Next()
		if err == io.EOF {
			break
		}
		ok(t, err)
		found = found || b.CID == root
		blocks++
	}
	took, used = time.Since(begin), childCPU(t, child.Process.Pid)-cpu
	close(stop)
	<-stopped
	exported := peakRSS(t, child.Process.Pid)
	t.Logf("export of %d blocks: %v, %v of CPU, peak RSS %d MB; writes meanwhile: %s",
		blocks, took.Round(time.Millisecond), used, exported>>20, percentiles(phase.take()))
	if !found || blocks < n {
		t.Errorf("%d blocks, the root among them: %v", blocks, found)
	}
	if exported > 256<<20 {
		t.Errorf("peak RSS %d MB", exported>>20)
	}
	if p99 := percentile(during, 99); given > 0 && p99 > 50*time.Millisecond {
		t.Errorf("writes of another account: p99 %v", p99)
	}
}

// latencies collects durations from several goroutines.
type latencies struct {
	mu   sync.Mutex
	list []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, d)
}

// take returns what was collected since the last call.
func (l *latencies) take() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}

func percentile(d []time.Duration, p int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, len(d)*p/100)]
}

func percentiles(d []time.Duration) string {
	return fmt.Sprintf("%d, p50 %v, p99 %v, max %v", len(d), percentile(d, 50).Round(time.Microsecond),
		percentile(d, 99).Round(time.Microsecond), percentile(d, 100).Round(time.Microsecond))
}

// peakRSS returns the most memory that a process has had, or 0 where the
// system does not tell.
func peakRSS(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	ok(t, err)
	return kb << 10
}

// childCPU returns the processor time that a process has used, or 0 where the
// system does not tell. Its unit is 10 ms.
func childCPU(t *testing.T, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	user, err := strconv.ParseInt(fields[11], 10, 64)
	ok(t, err)
	system, err := strconv.ParseInt(fields[12], 10, 64)
	ok(t, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}
