/** A file as `npx @graphcap/bridge types` downloads it. */
export interface AltText {
  alt_text: string;
  role: "informative" | "functional" | "text" | "complex" | "decorative";
}

export interface TrainingTags {
  subject: string[];
}

export interface GraphCaption {
  tags_list: { tag: string; category: string; confidence: number }[];
  verification: string;
  dense_caption: string;
  short_caption: string;
}

export interface Perspectives {
  alt_text: AltText;
  graph_caption: GraphCaption;
  training_tags: TrainingTags;
}
