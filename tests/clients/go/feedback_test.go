package sidecarclient

import (
	"testing"

	"google.golang.org/protobuf/proto"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

func click(id, token, docID string) *sidecarv1.Event {
	return &sidecarv1.Event{
		EventId: id, RankingToken: token, DocId: docID,
		Action: &sidecarv1.Event_Click{Click: &sidecarv1.Click{}},
	}
}

// forge returns a token with another letter in its middle.
func forge(token string) string {
	middle, other := len(token)/2, "A"
	if token[middle] == 'A' {
		other = "B"
	}
	return token[:middle] + other + token[middle+1:]
}

// Ids are those of this ranking: a sidecar that keeps its data has seen the others.
func TestAClickIsLoggedOnceByTheTokenOfItsRanking(t *testing.T) {
	client := dial(t)
	name := newCatalogue(t, client, "go-feedback")
	request := productSearch(name, nil)
	request.Options.TopK = proto.Int32(3)
	request.Options.Visitor = &sidecarv1.Visitor{SessionId: "a session", UserId: "a user"}
	found, err := client.Search.Search(patient(t), request)
	if err != nil {
		t.Fatal(err)
	}
	token, shown := found.GetRanking().GetRankingToken(), DocIDs(found.GetRanking())
	events := []*sidecarv1.Event{
		click("click "+token, token, shown[1]),
		click("click "+token, token, shown[1]),
		click("not shown "+token, token, "no-such-thing"),
		click("forged "+token, forge(token), shown[1]),
	}
	logged, err := client.Feedback.LogEvents(patient(t), &sidecarv1.LogEventsRequest{Events: events})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		status  sidecarv1.EventStatus
		refusal sidecarv1.EventRefusal
	}{
		{sidecarv1.EventStatus_EVENT_STATUS_ACCEPTED, 0},
		{sidecarv1.EventStatus_EVENT_STATUS_DUPLICATE, 0},
		{sidecarv1.EventStatus_EVENT_STATUS_REFUSED,
			sidecarv1.EventRefusal_EVENT_REFUSAL_UNKNOWN_DOCUMENT},
		{sidecarv1.EventStatus_EVENT_STATUS_REFUSED,
			sidecarv1.EventRefusal_EVENT_REFUSAL_FORGED_TOKEN},
	} {
		got := logged.GetResults()[i]
		if got.GetStatus() != want.status || got.GetRefusal() != want.refusal {
			t.Errorf("event %d got %v, want %v", i, got, want)
		}
	}
	if !logged.GetResults()[0].GetJoined() {
		t.Error("the click was not joined to the ranking that was just answered")
	}
}

func TestARankingThatIsNotShownHasNoToken(t *testing.T) {
	client := dial(t)
	name := newCatalogue(t, client, "go-unlogged")
	request := productSearch(name, nil)
	request.Options.Unlogged = true
	found, err := client.Search.Search(patient(t), request)
	if err != nil {
		t.Fatal(err)
	}
	if token := found.GetRanking().GetRankingToken(); token != "" {
		t.Errorf("it has the token %q", token)
	}
}
