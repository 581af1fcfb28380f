package sidecarclient

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

func TestUpsertAcknowledgesEachBatchAsDurableAndSearchable(t *testing.T) {
	client := dial(t)
	name := newCollection(t, client, "go-upsert")
	acknowledgements, err := client.Upsert(patient(t), name, batches(t)...)
	if err != nil {
		t.Fatal(err)
	}
	var counts []int32
	var before int64
	for _, ack := range acknowledgements {
		counts = append(counts, ack.GetDocumentCount())
		if ack.GetSequence() <= before {
			t.Errorf("sequence %d follows %d", ack.GetSequence(), before)
		}
		before = ack.GetSequence()
		if min(ack.GetDurableSequence(), ack.GetSearchableSequence()) < ack.GetSequence() {
			t.Errorf("acknowledged before durable and searchable: %v", ack)
		}
	}
	if want := []int32{4, 4, 2}; !slices.Equal(counts, want) {
		t.Errorf("batches of %v documents were acknowledged, want %v", counts, want)
	}
	stats, err := client.Documents.GetStats(patient(t), &sidecarv1.GetStatsRequest{Collection: name})
	if err != nil {
		t.Fatal(err)
	}
	if stats.GetDocumentCount() != int64(len(catalogue)) {
		t.Errorf("%d documents are stored, want %d", stats.GetDocumentCount(), len(catalogue))
	}
}

func TestDocumentsAreReadAsWrittenAndGoneWhenDeleted(t *testing.T) {
	client := dial(t)
	name := newCatalogue(t, client, "go-documents")
	ids := []string{"tent", "no-such-thing", "samovar"}
	read, err := client.Documents.GetDocuments(patient(t),
		&sidecarv1.GetDocumentsRequest{Collection: name, DocIds: ids})
	if err != nil {
		t.Fatal(err)
	}
	checkSorted(t, "missing ids", read.GetMissingDocIds(), "no-such-thing")
	samovar, want := read.GetDocuments()[1], document(t, catalogue[4])
	if want.Version = samovar.GetVersion(); want.Version < 1 || !proto.Equal(samovar, want) {
		t.Errorf("read %v, wrote %v", samovar, want)
	}

	deleted, err := client.Documents.DeleteDocuments(patient(t),
		&sidecarv1.DeleteDocumentsRequest{Collection: name, DocIds: ids})
	if err != nil {
		t.Fatal(err)
	}
	if deleted.GetDeletedCount() != 2 {
		t.Errorf("%d documents were deleted, want 2", deleted.GetDeletedCount())
	}
	left, err := client.SearchOr(patient(t), nil, productSearch(name, nil), patience)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 8 || slices.Contains(left, "tent") || slices.Contains(left, "samovar") {
		t.Errorf("found %v, want the eight that were not deleted", left)
	}
}

func productSearch(collection string, filter *sidecarv1.Filter) *sidecarv1.SearchRequest {
	return &sidecarv1.SearchRequest{
		Collection:   collection,
		Query:        teaQuery,
		Filter:       filter,
		ReturnFields: []string{"title"},
		Options:      &sidecarv1.RankingOptions{TopK: proto.Int32(10), Explain: true},
	}
}

func TestSearchFindsWhatTheFilterAllows(t *testing.T) {
	client := dial(t)
	name := newCatalogue(t, client, "go-filter")
	for _, test := range []struct {
		what   string
		filter *sidecarv1.Filter
		want   []string
	}{
		{"and, in, range, not", affordable(),
			[]string{"kettle-gooseneck", "kettle-stovetop", "mug-travel", "stove-camping"}},
		{"one of a list of strings",
			allOf(equals("tags", text("electric")), equals("category", text("home"))),
			[]string{"lamp-desk"}},
		{"nothing", within("price_cents", 7000, 8000), nil},
	} {
		t.Run(test.what, func(t *testing.T) {
			response, err := client.Search.Search(patient(t), productSearch(name, test.filter))
			if err != nil {
				t.Fatal(err)
			}
			checkSorted(t, "hits", DocIDs(response.GetRanking()), test.want...)
			checkRanks(t, response.GetRanking())
		})
	}
}

func TestSearchStreamRefinesAndEndsWithTheUnaryRanking(t *testing.T) {
	client := dial(t)
	request := productSearch(newCatalogue(t, client, "go-search"), affordable())
	stream, err := client.Search.SearchStream(patient(t),
		&sidecarv1.SearchStreamRequest{Search: request})
	if err != nil {
		t.Fatal(err)
	}
	responses, err := readAll(stream.Recv)
	if err != nil {
		t.Fatal(err)
	}
	var frames []*sidecarv1.Ranking
	for _, response := range responses {
		frames = append(frames, response.GetRanking())
	}
	checkFrames(t, frames, sidecarv1.Stage_STAGE_FUSED,
		sidecarv1.Stage_STAGE_FIRST_RERANK, sidecarv1.Stage_STAGE_SECOND_RERANK)
	final := frames[len(frames)-1]
	checkForTea(t, DocIDs(final)[0])
	unary, err := client.Search.Search(patient(t), request)
	if err != nil {
		t.Fatal(err)
	}
	checkSameRanking(t, final, unary.GetRanking())
}

func TestSearchExplainsEveryStage(t *testing.T) {
	client := dial(t)
	response, err := client.Search.Search(patient(t),
		productSearch(newCatalogue(t, client, "go-explain"), affordable()))
	if err != nil {
		t.Fatal(err)
	}
	every := []sidecarv1.Stage{
		sidecarv1.Stage_STAGE_LEXICAL, sidecarv1.Stage_STAGE_DENSE, sidecarv1.Stage_STAGE_FUSED,
		sidecarv1.Stage_STAGE_FIRST_RERANK, sidecarv1.Stage_STAGE_SECOND_RERANK,
	}
	checkReports(t, response.GetRanking(), every)
	for _, hit := range response.GetRanking().GetHits() {
		if title := hit.GetFields()["title"]; title == "" || len(hit.GetFields()) != 1 {
			t.Errorf("%s has fields %v, want its title", hit.GetDocId(), hit.GetFields())
		}
	}
	best := response.GetRanking().GetHits()[0]
	var explained []sidecarv1.Stage
	for _, score := range best.GetExplanation() {
		explained = append(explained, score.GetStage())
		reranked := score.GetStage() >= sidecarv1.Stage_STAGE_FIRST_RERANK
		if reranked != (score.ModelScore != nil) {
			t.Errorf("%v: only a reranker has a model score", score)
		}
	}
	if !slices.Equal(explained, every) {
		t.Errorf("the best hit is explained by %v, want %v", explained, every)
	}
	last := best.GetExplanation()[len(best.GetExplanation())-1]
	if last.GetScore() != best.GetScore() || last.GetRank() != 1 {
		t.Errorf("the best hit has score %v, its last stage says %v", best.GetScore(), last)
	}
}

func checkReports(t *testing.T, ranking *sidecarv1.Ranking, want []sidecarv1.Stage) {
	t.Helper()
	var reported []sidecarv1.Stage
	for _, report := range ranking.GetStages() {
		reported = append(reported, report.GetStage())
		if report.GetState() != sidecarv1.StageState_STAGE_STATE_COMPLETE {
			t.Errorf("stage is not complete: %v", report)
		}
		withoutModel := report.GetStage() == sidecarv1.Stage_STAGE_LEXICAL ||
			report.GetStage() == sidecarv1.Stage_STAGE_FUSED
		named := report.GetModel() != "" && report.GetModelRevision() != ""
		if named == withoutModel {
			t.Errorf("stage names no model, or one that it does not have: %v", report)
		}
	}
	if !slices.Equal(reported, want) {
		t.Errorf("stages reported are %v, want %v", reported, want)
	}
}
