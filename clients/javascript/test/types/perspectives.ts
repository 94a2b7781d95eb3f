/** A file as `npx @graphcap/bridge types` downloads it. */
export interface AltText {
  alt_text: string;
}

export interface GraphCaption {
  tags: { tag: string; category: "Entity" | "Action"; confidence: number }[];
  short_caption: string;
  verification?: string;
}

export interface Perspectives {
  alt_text: AltText;
  graph_caption: GraphCaption;
}
