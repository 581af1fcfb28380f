package sidecarclient

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

func TestUnknownCollectionIsNotFound(t *testing.T) {
	_, err := dial(t).Search.Search(patient(t),
		&sidecarv1.SearchRequest{Collection: "no-such-collection", Query: teaQuery})
	refusal := ReadRefusal(err)
	checkRefusal(t, refusal, codes.NotFound, "COLLECTION_NOT_FOUND")
	if refusal.Metadata["collection"] != "no-such-collection" {
		t.Errorf("metadata is %v, want the collection's name", refusal.Metadata)
	}
}

func TestTakenNameAlreadyExists(t *testing.T) {
	client := dial(t)
	name := newCollection(t, client, "go-taken")
	request := &sidecarv1.CreateCollectionRequest{Name: name}
	_, err := client.Collections.CreateCollection(patient(t), request)
	checkRefusal(t, ReadRefusal(err), codes.AlreadyExists, "COLLECTION_EXISTS")
}

func TestBadRequestNamesTheField(t *testing.T) {
	client := dial(t)
	collection := newCatalogue(t, client, "go-bad-requests")
	rerank := func(request *sidecarv1.RerankRequest) error {
		_, err := client.Rerank.Rerank(patient(t), request)
		return err
	}
	search := func(request *sidecarv1.SearchRequest) error {
		_, err := client.Search.Search(patient(t), request)
		return err
	}
	list := func(query string, candidates ...*sidecarv1.Candidate) *sidecarv1.RerankRequest {
		return &sidecarv1.RerankRequest{Query: query, Candidates: candidates}
	}
	a, sameID := &sidecarv1.Candidate{DocId: "a"}, &sidecarv1.Candidate{DocId: "a"}
	for _, test := range []struct {
		what, field string
		err         error
	}{
		{"empty query", "query", search(&sidecarv1.SearchRequest{Collection: collection})},
		{"query of white space", "query", rerank(list(" \n", a))},
		{"no candidates", "candidates", rerank(list(teaQuery))},
		{"an id twice", "candidates[1].doc_id", rerank(list(teaQuery, a, sameID))},
		{"unknown attribute", "filter",
			search(productSearch(collection, equals("colour", text("red"))))},
		{"operand of another type", "filter",
			search(productSearch(collection, equals("price_cents", text("cheap"))))},
	} {
		t.Run(test.what, func(t *testing.T) { checkBadField(t, test.err, test.field) })
	}
}

func checkRefusal(t *testing.T, refusal Refusal, code codes.Code, reason string) {
	t.Helper()
	if refusal.Code != code || refusal.Domain != "sidecar" || refusal.Reason != reason {
		t.Errorf("got %+v, want %v for %s", refusal, code, reason)
	}
}

func checkBadField(t *testing.T, err error, field string) {
	t.Helper()
	refusal := ReadRefusal(err)
	checkRefusal(t, refusal, codes.InvalidArgument, "INVALID_FIELD")
	fields := slices.Collect(maps.Keys(refusal.Fields))
	if len(fields) != 1 || !strings.HasPrefix(fields[0], field) {
		t.Errorf("the fields named are %v, want %s", fields, field)
	}
}

func TestBadBatchLeavesTheAcknowledgedOnesStored(t *testing.T) {
	client := dial(t)
	name := newCollection(t, client, "go-bad-batch")
	bad := document(t, catalogue[1])
	bad.Vector = slices.Repeat([]float32{float32(math.NaN())}, 384)

	acknowledgements, err := client.Upsert(patient(t), name,
		[]*sidecarv1.Document{document(t, catalogue[0])},
		[]*sidecarv1.Document{document(t, catalogue[2]), bad})
	checkBadField(t, err, "documents[1].vector")
	if len(acknowledgements) != 1 {
		t.Errorf("%d batches were acknowledged, want 1", len(acknowledgements))
	}
	ids, err := client.SearchOr(patient(t), nil, productSearch(name, nil), patience)
	if err != nil {
		t.Fatal(err)
	}
	checkSorted(t, "documents", ids, catalogue[0].id)
}
