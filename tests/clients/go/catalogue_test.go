package sidecarclient

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sidecarv1 "example/sidecarclient/gen/sidecar/v1"
)

const teaQuery = "boil water for tea"

type product struct {
	id, category        string
	cents               int64
	inStock             bool
	tags                []string
	listed, title, text string
}

// Prices sit on the bounds of the range that the tests ask for, 2000 to below 6000.
var catalogue = []product{
	{"kettle-gooseneck", "kitchen", 4900, true, []string{"electric", "tea"}, "2025-03-01",
		"Gooseneck electric kettle",
		"Boils water for tea and pour-over coffee and holds the temperature you set."},
	{"kettle-stovetop", "kitchen", 2000, true, []string{"tea"}, "2024-11-20",
		"Stovetop kettle",
		"A whistling steel kettle that boils water for tea on gas or induction."},
	{"kettle-sold-out", "kitchen", 2600, false, []string{"electric", "tea"}, "2025-01-15",
		"Compact electric kettle",
		"Boils half a litre of water for two cups of tea."},
	{"teapot-glass", "kitchen", 1999, true, []string{"tea"}, "2025-02-02",
		"Glass teapot",
		"Brews loose leaf tea with water that was boiled elsewhere."},
	{"samovar", "kitchen", 6000, true, []string{"electric", "tea"}, "2023-06-30",
		"Electric samovar",
		"Keeps boiling water ready for tea for a whole company."},
	{"mug-travel", "outdoor", 2500, true, nil, "2025-04-10",
		"Insulated travel mug",
		"Keeps coffee hot for six hours in the car."},
	{"stove-camping", "outdoor", 5999, true, []string{"gas"}, "2024-05-05",
		"Camping gas stove",
		"Brings a litre of water to the boil in four minutes on the trail."},
	{"tent", "outdoor", 18900, true, nil, "2024-04-01",
		"Two-person tent",
		"Stands in a storm and packs to the size of a loaf of bread."},
	{"lamp-desk", "home", 3900, true, []string{"electric"}, "2025-05-12",
		"Desk lamp",
		"Warm light, dimmed by touch, with a port to charge a telephone."},
	{"blanket", "home", 4500, true, nil, "2023-12-24",
		"Wool blanket",
		"Woven from recycled wool, for the sofa or the balcony."},
}

func document(t *testing.T, p product) *sidecarv1.Document {
	t.Helper()
	listed, err := time.Parse(time.DateOnly, p.listed)
	if err != nil {
		t.Fatal(err)
	}
	return &sidecarv1.Document{
		DocId:  p.id,
		Fields: map[string]string{"title": p.title, "text": p.text},
		Attributes: map[string]*sidecarv1.AttributeValue{
			"category":    text(p.category),
			"price_cents": integer(p.cents),
			"in_stock":    {Value: &sidecarv1.AttributeValue_BooleanValue{BooleanValue: p.inStock}},
			"tags": {Value: &sidecarv1.AttributeValue_StringListValue{
				StringListValue: &sidecarv1.StringList{Values: p.tags}}},
			"listed": {Value: &sidecarv1.AttributeValue_TimestampValue{
				TimestampValue: timestamppb.New(listed)}},
		},
	}
}

var productSchema = &sidecarv1.Schema{
	TextFields: []*sidecarv1.TextField{
		{Name: "title", Analyzer: sidecarv1.Analyzer_ANALYZER_ENGLISH},
		{Name: "text", Analyzer: sidecarv1.Analyzer_ANALYZER_ENGLISH},
	},
	Attributes: []*sidecarv1.AttributeField{
		{Name: "category", Type: sidecarv1.AttributeType_ATTRIBUTE_TYPE_STRING},
		{Name: "price_cents", Type: sidecarv1.AttributeType_ATTRIBUTE_TYPE_INTEGER},
		{Name: "in_stock", Type: sidecarv1.AttributeType_ATTRIBUTE_TYPE_BOOLEAN},
		{Name: "tags", Type: sidecarv1.AttributeType_ATTRIBUTE_TYPE_STRING_LIST},
		{Name: "listed", Type: sidecarv1.AttributeType_ATTRIBUTE_TYPE_TIMESTAMP},
	},
}

// newCollection creates an empty collection of products that the test's end drops.
func newCollection(t *testing.T, client *Client, name string) string {
	t.Helper()
	// One that a run that was cut short may have left.
	_, _ = client.Collections.DropCollection(patient(t),
		&sidecarv1.DropCollectionRequest{Name: name})
	_, err := client.Collections.CreateCollection(patient(t),
		&sidecarv1.CreateCollectionRequest{Name: name, Schema: productSchema})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		request := &sidecarv1.DropCollectionRequest{Name: name}
		if _, err := client.Collections.DropCollection(patient(t), request); err != nil {
			t.Errorf("cannot drop %s: %v", name, err)
		}
	})
	return name
}

// newCatalogue creates a collection that holds the catalogue, written in batches of four.
func newCatalogue(t *testing.T, client *Client, name string) string {
	t.Helper()
	newCollection(t, client, name)
	if _, err := client.Upsert(patient(t), name, batches(t)...); err != nil {
		t.Fatal(err)
	}
	return name
}

func batches(t *testing.T) [][]*sidecarv1.Document {
	t.Helper()
	var batches [][]*sidecarv1.Document
	for i, p := range catalogue {
		if i%4 == 0 {
			batches = append(batches, nil)
		}
		batches[len(batches)-1] = append(batches[len(batches)-1], document(t, p))
	}
	return batches
}

// checkForTea checks that the best of a ranking for teaQuery is one of the five that are for tea.
func checkForTea(t *testing.T, best string) {
	t.Helper()
	for _, p := range catalogue {
		if p.id == best && slices.Contains(p.tags, "tea") {
			return
		}
	}
	t.Errorf("the best for %q is %s", teaQuery, best)
}

// candidates is the catalogue as a list to be reranked, in its own order.
func candidates() []*sidecarv1.Candidate {
	var list []*sidecarv1.Candidate
	for _, p := range catalogue {
		list = append(list, &sidecarv1.Candidate{DocId: p.id, Title: p.title, Text: p.text})
	}
	return list
}

func text(value string) *sidecarv1.AttributeValue {
	return &sidecarv1.AttributeValue{Value: &sidecarv1.AttributeValue_StringValue{StringValue: value}}
}

func integer(value int64) *sidecarv1.AttributeValue {
	return &sidecarv1.AttributeValue{Value: &sidecarv1.AttributeValue_IntegerValue{IntegerValue: value}}
}

func allOf(filters ...*sidecarv1.Filter) *sidecarv1.Filter {
	return &sidecarv1.Filter{Condition: &sidecarv1.Filter_AllOf{
		AllOf: &sidecarv1.FilterList{Filters: filters}}}
}

func noneOf(filters ...*sidecarv1.Filter) *sidecarv1.Filter {
	return &sidecarv1.Filter{Condition: &sidecarv1.Filter_NoneOf{
		NoneOf: &sidecarv1.FilterList{Filters: filters}}}
}

func equals(attribute string, value *sidecarv1.AttributeValue) *sidecarv1.Filter {
	return &sidecarv1.Filter{Condition: &sidecarv1.Filter_Equals{
		Equals: &sidecarv1.EqualsFilter{Attribute: attribute, Value: value}}}
}

func oneOf(attribute string, values ...string) *sidecarv1.Filter {
	in := &sidecarv1.InFilter{Attribute: attribute}
	for _, value := range values {
		in.Values = append(in.Values, text(value))
	}
	return &sidecarv1.Filter{Condition: &sidecarv1.Filter_OneOf{OneOf: in}}
}

// within is low <= attribute < high.
func within(attribute string, low, high int64) *sidecarv1.Filter {
	return &sidecarv1.Filter{Condition: &sidecarv1.Filter_Range{Range: &sidecarv1.RangeFilter{
		Attribute: attribute,
		Lower:     &sidecarv1.RangeFilter_AtLeast{AtLeast: integer(low)},
		Upper:     &sidecarv1.RangeFilter_LessThan{LessThan: integer(high)},
	}}}
}

// affordable matches kettle-gooseneck, kettle-stovetop, mug-travel and stove-camping.
func affordable() *sidecarv1.Filter {
	return allOf(
		oneOf("category", "kitchen", "outdoor"),
		within("price_cents", 2000, 6000),
		noneOf(equals("in_stock", &sidecarv1.AttributeValue{
			Value: &sidecarv1.AttributeValue_BooleanValue{BooleanValue: false}})),
	)
}
