"""Motion features (Sec. 3.2): attention maps, their recording, the extractor."""
