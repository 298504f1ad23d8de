// Prints `N passed, N failed, N skipped` from the JSON report of vitest. A test file that could not be loaded is one
// failure; so is a report that is absent or not from this run.
import { readFileSync } from 'node:fs';

try {
  const report = JSON.parse(readFileSync('build/test-results.json', 'utf8'));
  const broken = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  ).length;
  const failed = report.numFailedTests + broken;
  console.log(
    `${report.numPassedTests} passed, ${failed} failed, ${report.numPendingTests + report.numTodoTests} skipped`,
  );
} catch {
  console.log('0 passed, 1 failed, 0 skipped');
}
