package headwater;

import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.leases.LeaseManagementConfig;

/** Intervals that only version 3 has. */
final class Tuning {
    private Tuning() {}

    static void apply(CoordinatorConfig coordinator, LeaseManagementConfig leases, long failoverMs) {
        leases.leaseAssignmentIntervalMillis(1_000L)
                .dynamoDbLockBasedLeaderLeaseDurationInMillis(2 * failoverMs)
                .dynamoDbLockBasedLeaderHeartbeatPeriodInMillis(failoverMs / 4);
        // By throughput alone: the load of a machine that runs other tests would decide otherwise.
        leases.workerUtilizationAwareAssignmentConfig()
                .disableWorkerMetrics(true)
                .workerMetricsReporterFreqInMillis(1_000);
    }
}
