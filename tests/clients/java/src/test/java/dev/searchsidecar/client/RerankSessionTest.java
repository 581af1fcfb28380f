package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Duration;
import dev.searchsidecar.v1.Candidate;
import dev.searchsidecar.v1.Ranking;
import dev.searchsidecar.v1.RerankRequest;
import dev.searchsidecar.v1.RerankServiceGrpc;
import dev.searchsidecar.v1.RerankSessionRequest;
import dev.searchsidecar.v1.RerankSessionResponse;
import dev.searchsidecar.v1.SessionCancel;
import dev.searchsidecar.v1.SessionCandidates;
import dev.searchsidecar.v1.SessionEnd;
import dev.searchsidecar.v1.SessionStart;
import dev.searchsidecar.v1.Stage;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class RerankSessionTest {
  private final SidecarClient client = Sidecar.connect();

  @AfterEach
  void close() {
    client.close();
  }

  @Test
  void interleavedRequestsSentInChunksAreRanked() throws Exception {
    var queries =
        Map.of(
            "tea", Catalogue.QUERY,
            "sleep", "sleep outside in bad weather",
            "read", "light to read by");
    var list = Catalogue.candidates();
    var answers =
        converse(
            start("tea", queries.get("tea")),
            start("sleep", queries.get("sleep")),
            chunk("tea", list.subList(0, 3)),
            chunk("sleep", list.subList(0, 5)),
            start("read", queries.get("read")),
            chunk("read", list),
            end("read"),
            chunk("tea", list.subList(3, 10)),
            chunk("sleep", list.subList(5, 10)),
            end("sleep"),
            end("tea"));
    var stub = RerankServiceGrpc.newBlockingStub(client.channel());
    queries.forEach(
        (id, query) -> {
          var rankings = rankings(answers.get(id));
          Rankings.checkNewest(rankings, Stage.STAGE_SECOND_RERANK);
          var request = RerankRequest.newBuilder().setQuery(query).addAllCandidates(list).build();
          Rankings.checkSame(stub.rerank(request).getRanking(), rankings.get(rankings.size() - 1));
        });
  }

  @Test
  void oneRequestFailsAndTheOthersAreServed() throws Exception {
    var answers =
        converse(
            start("bad", ""),
            start("good", Catalogue.QUERY),
            chunk("good", Catalogue.candidates()),
            end("good"));
    var last = last(answers.get("bad"));
    assertTrue(last.hasFailed(), last::toString);
    var status =
        com.google.rpc.Status.newBuilder()
            .setCode(last.getFailed().getCode())
            .setMessage(last.getFailed().getMessage())
            .addAllDetails(last.getFailed().getDetailsList())
            .build();
    RefusalTest.checkBadField("start.query", Refusal.of(status));
    assertTrue(last(answers.get("good")).getRanking().getFinal());
  }

  @Test
  void cancelFreesTheRequestId() throws Exception {
    var answers =
        converse(
            start("one", "never ranked"),
            chunk("one", Catalogue.candidates()),
            frame("one").setCancel(SessionCancel.getDefaultInstance()).build(),
            start("one", Catalogue.QUERY),
            chunk("one", Catalogue.candidates()),
            end("one"));
    assertTrue(last(answers.get("one")).getRanking().getFinal(), answers::toString);
  }

  /** Sends frames, half-closes, and returns what came back by request. */
  private Map<String, List<RerankSessionResponse>> converse(RerankSessionRequest... frames)
      throws Exception {
    var received = new ArrayList<RerankSessionResponse>();
    var done = new CompletableFuture<List<RerankSessionResponse>>();
    var session =
        RerankServiceGrpc.newStub(client.channel())
            .rerankSession(
                new StreamObserver<>() {
                  @Override
                  public void onNext(RerankSessionResponse response) {
                    received.add(response);
                  }

                  @Override
                  public void onError(Throwable failure) {
                    done.completeExceptionally(failure);
                  }

                  @Override
                  public void onCompleted() {
                    done.complete(received);
                  }
                });
    List.of(frames).forEach(session::onNext);
    session.onCompleted();
    return done.get(Sidecar.PATIENCE.toSeconds(), TimeUnit.SECONDS).stream()
        .collect(Collectors.groupingBy(RerankSessionResponse::getRequestId));
  }

  /** The rankings of a request, which started first. */
  private static List<Ranking> rankings(List<RerankSessionResponse> responses) {
    assertTrue(responses.get(0).hasStarted(), responses::toString);
    var others = responses.subList(1, responses.size());
    assertTrue(others.stream().allMatch(RerankSessionResponse::hasRanking), responses::toString);
    return others.stream().map(RerankSessionResponse::getRanking).toList();
  }

  private static RerankSessionResponse last(List<RerankSessionResponse> responses) {
    return responses.get(responses.size() - 1);
  }

  private static RerankSessionRequest.Builder frame(String id) {
    return RerankSessionRequest.newBuilder().setRequestId(id);
  }

  private static RerankSessionRequest start(String id, String query) {
    var timeout = Duration.newBuilder().setSeconds(Sidecar.PATIENCE.toSeconds());
    return frame(id)
        .setStart(SessionStart.newBuilder().setQuery(query).setTimeout(timeout))
        .build();
  }

  private static RerankSessionRequest chunk(String id, List<Candidate> candidates) {
    return frame(id)
        .setCandidates(SessionCandidates.newBuilder().addAllCandidates(candidates))
        .build();
  }

  private static RerankSessionRequest end(String id) {
    return frame(id).setEnd(SessionEnd.getDefaultInstance()).build();
  }
}
