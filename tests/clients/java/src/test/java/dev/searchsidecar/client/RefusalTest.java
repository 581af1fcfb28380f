package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.searchsidecar.v1.Candidate;
import dev.searchsidecar.v1.CollectionServiceGrpc;
import dev.searchsidecar.v1.CreateCollectionRequest;
import dev.searchsidecar.v1.RerankRequest;
import dev.searchsidecar.v1.RerankServiceGrpc;
import dev.searchsidecar.v1.SearchRequest;
import dev.searchsidecar.v1.SearchServiceGrpc;
import dev.searchsidecar.v1.UpsertDocumentsResponse;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class RefusalTest {
  private static final String COLLECTION = "java-refusals";

  private final SidecarClient client = Sidecar.connect();
  private final SearchServiceGrpc.SearchServiceBlockingStub search =
      SearchServiceGrpc.newBlockingStub(client.channel());
  private final RerankServiceGrpc.RerankServiceBlockingStub rerank =
      RerankServiceGrpc.newBlockingStub(client.channel());

  @BeforeEach
  void create() {
    Catalogue.create(client, COLLECTION);
  }

  @AfterEach
  void drop() {
    Catalogue.drop(client, COLLECTION);
    client.close();
  }

  @Test
  void unknownCollectionIsNotFound() {
    var request =
        SearchRequest.newBuilder().setCollection("no-such-collection").setQuery(Catalogue.QUERY);
    var refusal = refusal(() -> search.search(request.build()));
    assertEquals(Status.Code.NOT_FOUND, refusal.code());
    assertEquals("sidecar", refusal.domain());
    assertEquals("COLLECTION_NOT_FOUND", refusal.reason());
    assertEquals("no-such-collection", refusal.metadata().get("collection"));
  }

  @Test
  void takenNameAlreadyExists() {
    var collections = CollectionServiceGrpc.newBlockingStub(client.channel());
    var request = CreateCollectionRequest.newBuilder().setName(COLLECTION).build();
    var refusal = refusal(() -> collections.createCollection(request));
    assertEquals(Status.Code.ALREADY_EXISTS, refusal.code());
    assertEquals("COLLECTION_EXISTS", refusal.reason());
  }

  @Test
  void emptyQueryIsNamed() {
    var request = SearchRequest.newBuilder().setCollection(COLLECTION).build();
    checkBadField("query", refusal(() -> search.search(request)));
  }

  @Test
  void emptyCandidateListIsNamed() {
    var request = RerankRequest.newBuilder().setQuery(Catalogue.QUERY).build();
    checkBadField("candidates", refusal(() -> rerank.rerank(request)));
  }

  @Test
  void idGivenTwiceIsNamed() {
    var tea = Candidate.newBuilder().setDocId("a").setText("tea");
    var coffee = Candidate.newBuilder().setDocId("a").setText("coffee");
    var request =
        RerankRequest.newBuilder()
            .setQuery(Catalogue.QUERY)
            .addCandidates(tea)
            .addCandidates(coffee)
            .build();
    checkBadField("candidates[1].doc_id", refusal(() -> rerank.rerank(request)));
  }

  @Test
  void unknownAttributeOfAFilterIsNamed() {
    var filter = Catalogue.equalTo("colour", Catalogue.string("red"));
    var request = Catalogue.search(COLLECTION).setFilter(filter).build();
    checkBadField("filter", refusal(() -> search.search(request)));
  }

  @Test
  void badBatchLeavesTheAcknowledgedOnesStored() {
    var bad =
        Catalogue.document("tent").toBuilder()
            .addAllVector(Collections.nCopies(384, Float.NaN))
            .build();
    var batches =
        List.of(
            List.of(Catalogue.document("samovar")), List.of(Catalogue.document("blanket"), bad));
    var acknowledgements = new ArrayList<UpsertDocumentsResponse>();
    var refusal =
        refusal(
            () -> client.upsert(COLLECTION, batches, Sidecar.PATIENCE, acknowledgements::add));
    checkBadField("documents[1].vector", refusal);
    assertEquals(1, acknowledgements.size());
    var found =
        client.searchOr(
            List.of(), Catalogue.search(COLLECTION).build(), Sidecar.PATIENCE);
    assertEquals(List.of("samovar"), found.bestFirst());
  }

  static void checkBadField(String field, Refusal refusal) {
    assertEquals(Status.Code.INVALID_ARGUMENT, refusal.code());
    assertEquals("sidecar", refusal.domain());
    assertEquals("INVALID_FIELD", refusal.reason());
    assertEquals(1, refusal.fields().size(), refusal::toString);
    var named = refusal.fields().keySet().iterator().next();
    assertTrue(named.startsWith(field), () -> "the field named is " + named);
  }

  private static Refusal refusal(Executable call) {
    return Refusal.of(assertThrows(StatusRuntimeException.class, call));
  }
}
