package dev.searchsidecar.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.searchsidecar.v1.CollectionServiceGrpc;
import dev.searchsidecar.v1.DocumentServiceGrpc;
import dev.searchsidecar.v1.RerankServiceGrpc;
import dev.searchsidecar.v1.SearchServiceGrpc;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import io.grpc.health.v1.HealthGrpc;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class HealthTest {
  private final SidecarClient client = Sidecar.connect();
  private final HealthGrpc.HealthBlockingStub health = HealthGrpc.newBlockingStub(client.channel());

  @AfterEach
  void close() {
    client.close();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "", // the server as a whole
        SearchServiceGrpc.SERVICE_NAME,
        RerankServiceGrpc.SERVICE_NAME,
        DocumentServiceGrpc.SERVICE_NAME,
        CollectionServiceGrpc.SERVICE_NAME
      })
  void everyServiceIsServing(String service) {
    assertEquals(ServingStatus.SERVING, health.check(request(service)).getStatus());
  }

  @Test
  void unknownServiceIsNotFound() {
    var failure =
        assertThrows(
            StatusRuntimeException.class, () -> health.check(request("sidecar.v1.NoService")));
    assertEquals(Status.Code.NOT_FOUND, failure.getStatus().getCode());
  }

  @ParameterizedTest
  @CsvSource({"sidecar.v1.SearchService, SERVING", "sidecar.v1.NoService, SERVICE_UNKNOWN"})
  void watchTellsTheStateAtOnceAndStaysOpen(String service, ServingStatus expected)
      throws Exception {
    var context = Context.current().withCancellation();
    var states = context.call(() -> health.watch(request(service)));
    assertEquals(expected, states.next().getStatus());
    context.cancel(null);
    // Had the server ended the stream by itself, this would return false.
    var failure = assertThrows(StatusRuntimeException.class, states::hasNext);
    assertEquals(Status.Code.CANCELLED, failure.getStatus().getCode());
  }

  private static HealthCheckRequest request(String service) {
    return HealthCheckRequest.newBuilder().setService(service).build();
  }
}
