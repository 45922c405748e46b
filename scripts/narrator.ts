/** Tells a walk-through step by step and ends it at the first step that is not as said. */
const dim = (text: string) => `\x1b[2m${text}\x1b[0m`;
const bold = (text: string) => `\x1b[1m${text}\x1b[0m`;

export class NotAsSaid extends Error {
  override name = "NotAsSaid";
}

export type Narrator = {
  chapter(title: string): void;
  /** A sentence, and the real answer that shows it. */
  tell(sentence: string, answer?: unknown): void;
  /** Ends the walk-through when `fact` is not true. */
  check(sentence: string, fact: boolean, answer?: unknown): void;
  readonly checks: number;
};

const shown = (answer: unknown) => {
  const text = typeof answer === "string" ? answer : JSON.stringify(answer) ?? "";
  return text.length > 240 ? `${text.slice(0, 240)} …` : text;
};

export function narrator(write: (line: string) => void = console.log): Narrator {
  let [chapters, checks] = [0, 0];
  const answerLine = (answer: unknown) => {
    if (answer !== undefined) write(dim(`       ${shown(answer)}`));
  };
  return {
    get checks() {
      return checks;
    },
    chapter: (title) => write(`\n${bold(`${++chapters}. ${title}`)}`),
    tell: (sentence, answer) => {
      write(`     ${sentence}`);
      answerLine(answer);
    },
    check: (sentence, fact, answer) => {
      checks++;
      write(`   ${fact ? "✓" : "✗"} ${sentence}`);
      answerLine(answer);
      if (!fact) throw new NotAsSaid(`Not as said: ${sentence}`);
    },
  };
}
