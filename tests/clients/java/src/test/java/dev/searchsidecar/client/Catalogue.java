package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Timestamp;
import dev.searchsidecar.v1.Analyzer;
import dev.searchsidecar.v1.AttributeField;
import dev.searchsidecar.v1.AttributeType;
import dev.searchsidecar.v1.AttributeValue;
import dev.searchsidecar.v1.Candidate;
import dev.searchsidecar.v1.Collection;
import dev.searchsidecar.v1.CollectionServiceGrpc;
import dev.searchsidecar.v1.CreateCollectionRequest;
import dev.searchsidecar.v1.Document;
import dev.searchsidecar.v1.DropCollectionRequest;
import dev.searchsidecar.v1.EqualsFilter;
import dev.searchsidecar.v1.Filter;
import dev.searchsidecar.v1.FilterList;
import dev.searchsidecar.v1.InFilter;
import dev.searchsidecar.v1.ListCollectionsRequest;
import dev.searchsidecar.v1.RangeFilter;
import dev.searchsidecar.v1.RankingOptions;
import dev.searchsidecar.v1.Schema;
import dev.searchsidecar.v1.SearchRequest;
import dev.searchsidecar.v1.StringList;
import dev.searchsidecar.v1.TextField;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.Arrays;
import java.util.List;

/** Ten products, as documents and as candidates, and filters over them. */
final class Catalogue {
  static final String QUERY = "boil water for tea";

  /** Prices sit on the bounds of the range that the tests ask for, 2000 to below 6000. */
  private static final List<Product> PRODUCTS =
      List.of(
          new Product(
              "kettle-gooseneck", "kitchen", 4900, true, List.of("electric", "tea"), "2025-03-01",
              "Gooseneck electric kettle",
              "Boils water for tea and pour-over coffee and holds the temperature you set."),
          new Product(
              "kettle-stovetop", "kitchen", 2000, true, List.of("tea"), "2024-11-20",
              "Stovetop kettle",
              "A whistling steel kettle that boils water for tea on gas or induction."),
          new Product(
              "kettle-sold-out", "kitchen", 2600, false, List.of("electric", "tea"), "2025-01-15",
              "Compact electric kettle",
              "Boils half a litre of water for two cups of tea."),
          new Product(
              "teapot-glass", "kitchen", 1999, true, List.of("tea"), "2025-02-02",
              "Glass teapot",
              "Brews loose leaf tea with water that was boiled elsewhere."),
          new Product(
              "samovar", "kitchen", 6000, true, List.of("electric", "tea"), "2023-06-30",
              "Electric samovar",
              "Keeps boiling water ready for tea for a whole company."),
          new Product(
              "mug-travel", "outdoor", 2500, true, List.of(), "2025-04-10",
              "Insulated travel mug",
              "Keeps coffee hot for six hours in the car."),
          new Product(
              "stove-camping", "outdoor", 5999, true, List.of("gas"), "2024-05-05",
              "Camping gas stove",
              "Brings a litre of water to the boil in four minutes on the trail."),
          new Product(
              "tent", "outdoor", 18900, true, List.of(), "2024-04-01",
              "Two-person tent",
              "Stands in a storm and packs to the size of a loaf of bread."),
          new Product(
              "lamp-desk", "home", 3900, true, List.of("electric"), "2025-05-12",
              "Desk lamp",
              "Warm light, dimmed by touch, with a port to charge a telephone."),
          new Product(
              "blanket", "home", 4500, true, List.of(), "2023-12-24",
              "Wool blanket",
              "Woven from recycled wool, for the sofa or the balcony."));

  private record Product(
      String id,
      String category,
      long cents,
      boolean inStock,
      List<String> tags,
      String listed,
      String title,
      String text) {

    Document toDocument() {
      return Document.newBuilder()
          .setDocId(id)
          .putFields("title", title)
          .putFields("text", text)
          .putAttributes("category", string(category))
          .putAttributes("price_cents", integer(cents))
          .putAttributes("in_stock", bool(inStock))
          .putAttributes("tags", list(tags))
          .putAttributes("listed", day(listed))
          .build();
    }

    Candidate toCandidate() {
      return Candidate.newBuilder().setDocId(id).setTitle(title).setText(text).build();
    }
  }

  private Catalogue() {}

  static List<Document> documents() {
    return PRODUCTS.stream().map(Product::toDocument).toList();
  }

  static Document document(String id) {
    return documents().stream().filter(d -> d.getDocId().equals(id)).findFirst().orElseThrow();
  }

  /** The documents in batches of four, four and two. */
  static List<List<Document>> batches() {
    var all = documents();
    return List.of(all.subList(0, 4), all.subList(4, 8), all.subList(8, 10));
  }

  static List<Candidate> candidates() {
    return PRODUCTS.stream().map(Product::toCandidate).toList();
  }

  /** The best of a ranking for the query must be one of the five products that are for tea. */
  static void checkForTea(String best) {
    var product = PRODUCTS.stream().filter(p -> p.id().equals(best)).findFirst().orElseThrow();
    assertTrue(product.tags().contains("tea"), () -> "best for \"" + QUERY + "\": " + best);
  }

  /** Creates an empty collection of products, in place of one that an earlier run left. */
  static void create(SidecarClient client, String name) {
    if (names(client).contains(name)) {
      drop(client, name);
    }
    collections(client)
        .createCollection(
            CreateCollectionRequest.newBuilder().setName(name).setSchema(schema()).build());
  }

  static void drop(SidecarClient client, String name) {
    collections(client).dropCollection(DropCollectionRequest.newBuilder().setName(name).build());
  }

  static SearchRequest.Builder search(String collection) {
    return SearchRequest.newBuilder()
        .setCollection(collection)
        .setQuery(QUERY)
        .addReturnFields("title")
        .setOptions(RankingOptions.newBuilder().setTopK(10).setExplain(true));
  }

  /** Matches kettle-gooseneck, kettle-stovetop, mug-travel and stove-camping. */
  static Filter affordable() {
    return allOf(
        oneOf("category", "kitchen", "outdoor"),
        within("price_cents", 2000, 6000),
        noneOf(equalTo("in_stock", bool(false))));
  }

  static Filter allOf(Filter... filters) {
    return Filter.newBuilder().setAllOf(filterList(filters)).build();
  }

  static Filter noneOf(Filter... filters) {
    return Filter.newBuilder().setNoneOf(filterList(filters)).build();
  }

  static Filter equalTo(String attribute, AttributeValue value) {
    return Filter.newBuilder()
        .setEquals(EqualsFilter.newBuilder().setAttribute(attribute).setValue(value))
        .build();
  }

  static Filter oneOf(String attribute, String... values) {
    var operands = Arrays.stream(values).map(Catalogue::string).toList();
    return Filter.newBuilder()
        .setOneOf(InFilter.newBuilder().setAttribute(attribute).addAllValues(operands))
        .build();
  }

  /** {@code low <= attribute < high}. */
  static Filter within(String attribute, long low, long high) {
    return Filter.newBuilder()
        .setRange(
            RangeFilter.newBuilder()
                .setAttribute(attribute)
                .setAtLeast(integer(low))
                .setLessThan(integer(high)))
        .build();
  }

  static AttributeValue string(String value) {
    return AttributeValue.newBuilder().setStringValue(value).build();
  }

  private static AttributeValue integer(long value) {
    return AttributeValue.newBuilder().setIntegerValue(value).build();
  }

  private static AttributeValue bool(boolean value) {
    return AttributeValue.newBuilder().setBooleanValue(value).build();
  }

  private static AttributeValue list(List<String> values) {
    return AttributeValue.newBuilder()
        .setStringListValue(StringList.newBuilder().addAllValues(values))
        .build();
  }

  private static AttributeValue day(String date) {
    var seconds = LocalDate.parse(date).atStartOfDay(ZoneOffset.UTC).toEpochSecond();
    return AttributeValue.newBuilder()
        .setTimestampValue(Timestamp.newBuilder().setSeconds(seconds))
        .build();
  }

  private static FilterList filterList(Filter... filters) {
    return FilterList.newBuilder().addAllFilters(List.of(filters)).build();
  }

  private static Schema schema() {
    return Schema.newBuilder()
        .addTextFields(field("title"))
        .addTextFields(field("text"))
        .addAttributes(attribute("category", AttributeType.ATTRIBUTE_TYPE_STRING))
        .addAttributes(attribute("price_cents", AttributeType.ATTRIBUTE_TYPE_INTEGER))
        .addAttributes(attribute("in_stock", AttributeType.ATTRIBUTE_TYPE_BOOLEAN))
        .addAttributes(attribute("tags", AttributeType.ATTRIBUTE_TYPE_STRING_LIST))
        .addAttributes(attribute("listed", AttributeType.ATTRIBUTE_TYPE_TIMESTAMP))
        .build();
  }

  private static TextField field(String name) {
    return TextField.newBuilder().setName(name).setAnalyzer(Analyzer.ANALYZER_ENGLISH).build();
  }

  private static AttributeField attribute(String name, AttributeType type) {
    return AttributeField.newBuilder().setName(name).setType(type).build();
  }

  private static List<String> names(SidecarClient client) {
    var all = collections(client).listCollections(ListCollectionsRequest.getDefaultInstance());
    return all.getCollectionsList().stream().map(Collection::getName).toList();
  }

  private static CollectionServiceGrpc.CollectionServiceBlockingStub collections(
      SidecarClient client) {
    return CollectionServiceGrpc.newBlockingStub(client.channel());
  }
}
