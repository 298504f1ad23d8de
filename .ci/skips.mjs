// A vitest reporter: says at the end which tests were skipped and why, so that no skip goes unseen.
export default class Skips {
  onTestRunEnd(modules) {
    const lines = [];
    for (const module of modules) {
      for (const test of module.children.allTests('skipped')) {
        lines.push(`  ${test.fullName}: ${test.result().note ?? 'no reason given'}`);
      }
    }
    if (lines.length > 0) console.log(`\nSkipped:\n${lines.join('\n')}\n`);
  }
}
